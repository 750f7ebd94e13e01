"""The table of kinds: what stands in a kind's own module is stated nowhere else."""

from __future__ import annotations

from pathlib import Path

from mlflow_parity.kinds import EVERY
from mlflow_parity.kinds.rules.check_registry import PROMISES
from mlflow_parity.migrating.write.ordering import WRITINGS
from mlflow_parity.reading.transport.endpoints import BY_NAME
from mlflow_parity.snapshot import PARTS, SERVER_PARTS

ROOT = Path(__file__).resolve().parent.parent.parent


def test_a_new_kind_touches_four_files() -> None:
    """The newest one is known to its module, the table, the allow-list and its check: else each next costs forty."""
    files = [path for folder in ("src", "checks") for path in (ROOT / folder).rglob("*.py")]
    naming = {str(path.relative_to(ROOT)) for path in files if "skill" in path.read_text(encoding="utf-8").lower()}
    package = "src/mlflow_parity"
    assert naming == {
        f"{package}/kinds/skill.py",
        f"{package}/kinds/__init__.py",
        f"{package}/reading/transport/endpoints.py",
        "checks/test_skills.py",
    }


def test_what_a_kind_states_is_known_everywhere() -> None:
    """Its list is on the allow-list, it has a part of a snapshot, a check, and one way of writing at most."""
    written = [kind for one in WRITINGS for kind in one.kinds]
    assert len(written) == len(set(written))
    for kind in EVERY:
        assert kind.part in (*PARTS, *SERVER_PARTS, "experiments")
        assert {facet for one in PROMISES if one.kind == kind.name for facet in one.facets} == set(kind.facets)
        assert kind.listing is None or kind.listing.endpoint in BY_NAME
