"""What waits on disk until a place was looked at twice comes back as it was, in its order."""

from __future__ import annotations

import errno
import random
from pathlib import Path
from typing import Any

import pytest
from support.memory_store import RunData, Store, audited, experiment, run_id, same_ids

from mlflow_parity.audit.paired import outcomes as waiting
from mlflow_parity.audit.paired.outcomes import Outcomes
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


def test_an_audit_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether its rows wait in memory or on disk: those that differ, those that are lost, and all that are equal."""
    store = Store({"1": experiment(1, "one"), "2": experiment(2, "two")})
    for number in range(40):
        place = f"mlflow-artifacts:/1/{run_id(number)}/artifacts"
        store.add(
            RunData(run_id(number), str(number % 2 + 1), f"run {number}", params={"p": "1"}, artifact_uri=place,
                    metrics={"m": [(1, 5, float(number)), (0, 4, 1.0)], "n": [(1, 5, 1.0)]})
        )  # fmt: skip
    target = same_ids(store)
    for number in (3, 8, 9):
        target.runs[run_id(number)].params["p"] = "2"
    target.runs[run_id(11)].metrics["m"][1] = (0, 4, 7.0)
    del target.runs[run_id(20)]
    before = audited(tmp_path / "memory", store, target)
    monkeypatch.setattr(waiting, "MOST", 5)
    monkeypatch.setattr(waiting, "_TOGETHER", 7)
    after = audited(tmp_path / "disk", store, target)
    assert after.ledger.rows == before.ledger.rows
    assert after.result.findings == before.result.findings
    assert after.result.totals == before.result.totals
    assert {(facet, name) for facet, _, _, name in after.found} >= {
        ("params", "run 3"), ("params", "run 8"), ("params", "run 9"), ("metrics", "run 11"), ("presence", "run 20")
    }  # fmt: skip
    assert after.states("params") == {State.MATCH: 36, State.MISMATCH: 3, State.MISSING: 1}


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the audit as any other full disk does."""
    monkeypatch.setattr(waiting, "MOST", 1)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pickle.dump", full)
    with pytest.raises(NoSpace, match="no space left on the disk"):
        Outcomes([_outcome(one, State.MATCH) for one in range(3)], tmp_path)
