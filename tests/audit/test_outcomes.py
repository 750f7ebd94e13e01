"""What waits on disk until a place was looked at twice comes back as it was, in its order."""

from __future__ import annotations

import errno
import random
from pathlib import Path
from typing import Any

import pytest

from mlflow_parity.audit import outcomes as waiting
from mlflow_parity.audit.outcomes import Outcomes
from mlflow_parity.comparing.difference import Difference, Outcome
from mlflow_parity.core.errors import NoSpace
from mlflow_parity.core.verdict import Row, State


def _outcome(number: int, state: State) -> Outcome:
    value: Any = {"a": [number, 1.5, None, True, "\ud800"]}
    row = Row("e", "run", f"run {number}", f"s{number}", None, "tags", state, rules=("a", "b"), findings=number)
    return Outcome(row, (Difference("k", state, "run.tags", source=value, target=("t", 1), note="n"),) * (number % 3))


@pytest.mark.parametrize("count", [0, 1, 10, 11, 13, 14, 57])
def test_all_come_back(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many of them; those that differ are themselves, the others are equal, again and again."""
    monkeypatch.setattr(waiting, "MOST", 10)
    monkeypatch.setattr(waiting, "_TOGETHER", 3)
    draw = random.Random(count)
    given = [_outcome(number, draw.choice([State.MATCH, State.EXPECTED, State.MISMATCH])) for number in range(count)]
    kept = Outcomes(iter(given), tmp_path)
    assert [*kept] == given
    assert [*kept] == given
    # two at once
    assert [*zip(kept, kept, strict=True)] == [*zip(given, given, strict=True)]
    red = [one for one in given if one.row.state is State.MISMATCH]
    assert [*map(id, kept.red)] == [*map(id, red)]
    assert [id(one) for one in kept if not one.row.state.green] == [*map(id, red)]
    assert not [*tmp_path.iterdir()]


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the audit as any other full disk does."""
    monkeypatch.setattr(waiting, "MOST", 1)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pickle.dump", full)
    with pytest.raises(NoSpace, match="no space left on the disk"):
        Outcomes([_outcome(one, State.MATCH) for one in range(3)], tmp_path)
