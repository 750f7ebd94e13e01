"""Where progress is shown: a bar in a notebook that has tqdm, a line on a terminal, nothing anywhere else."""

from __future__ import annotations

import sys
import warnings
from shutil import get_terminal_size
from typing import Any

from mlflow_parity.reporting.progress import Progress, Terminal

#: Columns of the line beside a bar.
_LINE = 110


def terminal() -> Terminal:
    """Return what shows the progress of an audit here."""
    tqdm = _tqdm() if _is_notebook() else None
    if tqdm is not None:
        return Terminal(lambda _: None, True, _LINE, lambda: BarProgress(tqdm))
    # a program that was started without one has no stderr
    stream = sys.stderr
    if stream is None or not stream.isatty():
        return Terminal(lambda _: None, False, 0)

    def write(text: str) -> None:
        stream.write(text)
        stream.flush()

    return Terminal(write, True, get_terminal_size((80, 24)).columns)


def _is_notebook() -> bool:
    """Whether this is a kernel of Jupyter, as tqdm tells it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config


def _tqdm() -> Any:
    # it warns where the notebook has no widgets, and shows a line of text then
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from tqdm.auto import tqdm
        except ImportError:
            return None
    return tqdm


class BarProgress(Progress):
    """Progress as a bar of tqdm: experiments of both sides, and the line of the terminal beside it."""

    def __init__(self, tqdm: Any) -> None:
        super().__init__(self._told, isatty=True, columns=lambda: _LINE)
        self._bar = tqdm(desc="mlflow-parity", unit="exp", leave=False, total=None)

    def close(self) -> None:
        """Stop, and take the bar away."""
        super().close()
        self._bar.close()

    def _told(self, line: str) -> None:
        with self._lock:
            sides = [*self._sides.values()]
        self._bar.total = sum(one.total or 0 for one in sides) or None
        self._bar.n = sum(one.experiments for one in sides)
        self._bar.set_postfix_str(line.strip(), refresh=True)
