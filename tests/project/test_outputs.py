"""``docs/outputs.md`` shows what the commands print today, and its pictures are small (``make outputs`` makes both)."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from support import outputs
from support.outputs import FOLDER, PAGE, SIZES
from support.servers import FreshServer, emptied

from mlflow_parity.standin.sagemaker import StandIn

_NAMES = ("plan", "red", "run", "green")


def _kept(name: str) -> str:
    return (FOLDER / f"{name}.txt").read_text(encoding="utf-8")


def test_the_page_shows_what_is_kept() -> None:
    """It is made of the kept outputs alone, and nothing else lies beside them."""
    assert PAGE.read_text(encoding="utf-8") == outputs.page({name: _kept(name) for name in _NAMES})
    pictures = {f"{name}-{ending}.png" for name in ("red", "green") for ending in SIZES}
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.txt" for name in _NAMES} | pictures


def test_pictures_are_small_and_as_wide_as_they_say() -> None:
    """Each is a PNG of its size, and below 150 kB: a page with them opens anywhere."""
    for path in FOLDER.glob("*.png"):
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert struct.unpack(">II", content[16:24]) == SIZES[path.stem.partition("-")[2]]
        assert len(content) < 150_000


def test_outputs_hold_nothing_of_the_machine() -> None:
    """No folder, port or time of the run that made them."""
    text = "".join(_kept(name) for name in _NAMES)
    for told in ("/tmp/", "/dev/", "/home/", "/root/", "rootdir", "platform linux"):
        assert told not in text
    assert "http://127.0.0.1:50000" in text


def test_what_differs_each_time_is_replaced(tmp_path: Path) -> None:
    """Two runs that say the same give one text, whatever their ids, times and ports; a number that counts stays."""
    first, second = (
        outputs.stable(
            f"$ mlflow-parity audit --source-uri http://127.0.0.1:{port}\nrootdir: {tmp_path}\n"
            f'run "a" source id {run}, cut {run[:20]}…, target id {other}\nmade at {when} ms, {day}T01:02:03+00:00\n'
            f"±1.7976931348623157e308, report {tmp_path}/red/report.html\n{rule} {count} passed in {took} {rule}\n",
            f"http://127.0.0.1:{port}",
            tmp_path,
        )
        for port, run, other, when, day, took, rule, count in (
            (40_001, "0a" * 16, "1b" * 16, 1_771_000_000_000, "2026-11-28", "9.87s", "=" * 30, 12),
            (50_123, "2c" * 16, "3d" * 16, 1_772_000_000_001, "2026-12-01", "75.12s (0:01:15)", "=" * 26, 12),
        )
    )
    assert first == second
    assert "±1.7976931348623157e308, report red/report.html" in first
    assert "http://old-mlflow:5000" in first
    one, cut, other = (first.partition(mark)[2][:20] for mark in ("source id ", "cut ", "target id "))
    assert one == cut != other
    assert outputs.same(first, first.replace("report red", "report\n  red"))
    assert not outputs.same(first, first.replace("12 passed", "11 passed"))


@pytest.mark.long
def test_the_commands_say_what_is_kept(fresh_server: FreshServer, sagemaker_app: StandIn) -> None:
    """Planned, moved by the tool, audited, moved by ours, audited: all texts are those in ``docs/outputs``."""
    with emptied(sagemaker_app.server):
        made = outputs.make(fresh_server(), sagemaker_app)
    assert set(made.texts) == set(_NAMES)
    for name, text in made.texts.items():
        assert outputs.same(_kept(name), text), f"make outputs\n{text}"
    assert "RED" in made.reports["red"]
    assert "GREEN" in made.reports["green"]
