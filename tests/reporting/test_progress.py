"""Progress: a line on a terminal that is cleared at the end, nothing anywhere else."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.report_samples import unhurried
from support.terminal import pieces

from mlflow_parity.core.forecast import Amount, Expected
from mlflow_parity.reporting.progress import Progress

_READ_TWO_SIDES = """
import sys, time
from mlflow_parity.reporting.progress import Progress

def write(text):
    sys.stdout.write(text)
    sys.stdout.flush()

with Progress(write, isatty=sys.stdout.isatty()) as progress:
    progress.expect("source", 12)
    progress.expect("target", 12)
    for _ in range(8):
        progress.add("source", runs=90, points=90_000)
        progress.add("target", runs=90, points=90_000, artifacts=3, size=1_500_000)
        time.sleep(0.1)
    progress.add("source", experiments=3)
    time.sleep(0.5)
sys.stdout.write("done")
"""


def on_a_terminal(columns: int) -> str:
    """Run the example on a pseudo-terminal of so many columns and return what it wrote there."""
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", _READ_TWO_SIDES],
        stdout=terminal,
        stdin=terminal,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "dumb"},
    ) as process:
        os.close(terminal)
        written = b""
        for piece in pieces(controller, 30):
            written += piece
        assert process.wait(30) == 0
    os.close(controller)
    return written.decode("ascii")


def screen(written: str) -> str:
    """Return the line that is left when carriage returns are obeyed."""
    cells: list[str] = []
    at = 0
    for character in written:
        if character == "\r":
            at = 0
            continue
        cells[at:] = [character, *cells[at + 1 :]]
        at += 1
    return "".join(cells).rstrip()


def test_a_terminal_shows_counts_and_rates_and_is_cleared() -> None:
    """Both sides, experiments done of all, runs, points and rate are shown; at the end the line is empty."""
    written = on_a_terminal(160)
    assert re.search(
        r"\rreading source 3/12 exp, 720 runs, 720\.0k points, [\d.]+[kM]? points/s \| target 0/12", written
    )
    assert "24 files 12.0 MB" in written
    assert screen(written) == "done"
    # 1.3 s at no more than five lines a second, and the clearing
    assert written.count("\r") <= 10


def test_a_narrow_terminal_never_wraps() -> None:
    """No line is wider than the terminal less one column."""
    written = on_a_terminal(40)
    pieces = [piece for piece in written.removesuffix("done").split("\r") if piece]
    assert pieces
    assert max(map(len, pieces)) <= 39
    assert screen(written) == "done"


def test_a_pipe_gets_nothing() -> None:
    """Where there is no terminal nothing is written."""
    done = subprocess.run([sys.executable, "-c", _READ_TWO_SIDES], capture_output=True, check=True, timeout=60)
    assert done.stdout == b"done"
    assert done.stderr == b""


def test_no_thread_without_a_terminal() -> None:
    """Without a terminal no thread is started; with one it is a daemon and ends at close."""

    def running() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "parity-progress"]

    with Progress(lambda text: None, isatty=False):
        assert running() == []
    with Progress(lambda text: None, isatty=True):
        assert [thread.daemon for thread in running()] == [True]
    assert running() == []


def test_a_terminal_that_goes_away_is_no_error() -> None:
    """When writing fails the line ends, the audit does not; closing twice is fine."""
    tries: list[str] = []

    def broken(text: str) -> None:
        tries.append(text)
        raise OSError("gone")

    with Progress(broken, isatty=True) as progress:
        progress.add("source", runs=1)
        deadline = time.monotonic() + 10
        while not tries and time.monotonic() < deadline:
            time.sleep(0.02)
    progress.close()
    assert len(tries) == 1


def test_threads_lose_no_count() -> None:
    """Eight threads add up."""
    now = [0.0]
    progress = Progress(lambda text: None, isatty=False, clock=lambda: now[0])

    def count() -> None:
        for _ in range(2_000):
            progress.add("source", runs=1, points=10)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now[0] = 10.0
    assert progress.line() == "reading source 0 exp, 16,000 runs, 160.0k points, 16.0k points/s"


@given(st.text(max_size=20), st.integers(0, 10**18), st.integers(0, 10**18))
@unhurried
def test_the_line_is_plain(side: str, runs: int, size: int) -> None:
    """Whatever is counted, the line holds no control character."""
    progress = Progress(lambda text: None, isatty=False)
    progress.add(side, runs=runs, artifacts=1, size=size)
    assert not re.search("[\x00-\x1f\x7f-\x9f]", progress.line())


def test_the_time_left_is_told_once_it_is_known() -> None:
    """First on the line, as its end may be cut; not before enough is known, nor when it is over."""
    now = [0.0]
    progress = Progress(lambda text: None, isatty=False, clock=lambda: now[0])
    progress.expect("source", 4)
    progress.foresee({"source": Expected(Amount(runs=1000, trees=1000, files=100), {}, after=2.0)})
    assert progress.line().startswith("reading source 0/4 exp")
    now[0] = 10.0
    progress.add("source", runs=100)
    for _ in range(100):
        # an owner without files is counted by nothing, and is work all the same
        progress.add("source", artifacts=0, size=0)
    progress.add("source", artifacts=10, size=0)
    left = progress.left()
    assert left is not None
    assert progress.line().startswith(f"reading, 1 min {left - 60:02.0f} s left: source 0/4 exp, 100 runs")
    now[0] += 40.0
    assert progress.left() == pytest.approx(left - 40.0)
    now[0] += 1_000.0
    assert progress.line().startswith("reading source")


def test_without_a_forecast_nothing_is_said_of_the_time() -> None:
    """Nor of one side alone, while the other has not begun."""
    now = [0.0]
    progress = Progress(lambda text: None, isatty=False, clock=lambda: now[0])
    now[0] = 5.0
    progress.add("source", runs=10)
    assert progress.left() is None
    progress.foresee({name: Expected(Amount(runs=20), {}) for name in ("source", "target")})
    now[0] = 10.0
    progress.add("source", runs=10)
    assert progress.left() is None
    progress.add("target", runs=10)
    assert progress.left() is not None


@given(
    st.integers(0, 10**7), st.integers(0, 10**9), st.integers(0, 10**8), st.integers(0, 10**6), st.integers(1, 10**4)
)
@unhurried
def test_both_sides_and_the_time_left_fit_a_terminal(
    runs: int, points: int, files: int, objects: int, experiments: int
) -> None:
    """79 columns are enough for any real size: what says least goes first."""
    now = [0.0]
    progress = Progress(lambda text: None, isatty=False, clock=lambda: now[0])
    progress.left = lambda: 4000.0  # type: ignore[method-assign]
    for side in ("source", "target"):
        progress.expect(side, experiments)
        progress.add(side, experiments=experiments, runs=runs, points=points, artifacts=files, size=9, objects=objects)
    now[0] = 700.0
    line = progress.line(79)
    assert len(line) <= 79
    assert line.startswith("reading, 67 min left: source ")
    assert line.count(f"{experiments:,}/{experiments:,}") == 2
    assert line.count(" runs") in (0, 2)
    assert len(progress.line()) >= len(line)


def test_what_comes_after_reading_is_told() -> None:
    """Pairing, comparing, looking at both ends: a name, how far it is, and the time left once it can be told."""
    now, rows = [0.0], [0]
    progress = Progress(lambda text: None, isatty=False, clock=lambda: now[0])
    progress.add("source", runs=1)
    progress.phase("pairing")
    now[0] = 7.0
    assert progress.line(79) == "pairing, 7 s so far"
    progress.phase("comparing", 61, lambda: f"{rows[0]:,} rows")
    assert progress.line(79) == "comparing 0/61, 0 rows"
    rows[0], now[0] = 1234, 8.0
    progress.step()
    assert progress.line(79) == "comparing 1/61, 1,234 rows"
    now[0] = 17.0
    assert progress.line(79) == "comparing 1/61, 1,234 rows, 10 min left"
