"""Being ended by SIGTERM is like Ctrl-C: what was begun is taken back, what was started is ended."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

#: Seconds that a process which was started has to clean up.
_GRACE = 20.0


#: Set once SIGTERM came: what failed is not tried again, so that threads end soon.
STOPPING = threading.Event()


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


def interrupted(name: str, ended: KeyboardInterrupt) -> int:
    """Say that a command was interrupted; return the exit status, as a shell has it: 128 and the signal."""
    print(f"{name}: interrupted; the same command goes on where it stopped", file=sys.stderr)
    return 143 if isinstance(ended, Terminated) else 130


def _terminated(number: int, frame: FrameType | None) -> None:
    # whoever does not want to wait for that sends a second one
    signal.signal(number, signal.SIG_DFL)
    STOPPING.set()
    raise Terminated


def on_sigterm() -> Callable[[], None]:
    """Let SIGTERM raise :class:`Terminated`, unless somebody else has a use for it; return what ends that again."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return lambda: None
    signal.signal(signal.SIGTERM, _terminated)

    def end() -> None:
        STOPPING.clear()
        if signal.getsignal(signal.SIGTERM) is _terminated:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    return end


def run(command: Sequence[str], env: Mapping[str, str], folder: Path, output: Path | None = None) -> int:
    """Run a command in a folder, return its exit status; where this process is ended so is that, and waited for.

    ``output`` is the file that takes what it prints; ``None``: the terminal does.
    """
    with ExitStack() as stack:
        file = None if output is None else stack.enter_context(output.open("wb"))
        process = subprocess.Popen(
            command, env=dict(env), cwd=folder, stdin=subprocess.DEVNULL, stdout=file, stderr=file and subprocess.STDOUT
        )
    try:
        return process.wait()
    except BaseException as ended:
        # Ctrl-C in a terminal has reached it too, and a second signal would disturb how it cleans up
        if not isinstance(ended, KeyboardInterrupt) or isinstance(ended, Terminated):
            process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
