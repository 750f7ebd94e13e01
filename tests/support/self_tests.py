"""Runs the self-test of an audit of two snapshots, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow_parity.audit.result import Result, Silent
from mlflow_parity.audit.running import Audit
from mlflow_parity.audit.self_test_outcome import SelfTest
from mlflow_parity.audit.side import Side, uncounted
from mlflow_parity.core.locations import parse_location
from mlflow_parity.kinds.rules.check_registry import collected, select
from mlflow_parity.options import resolve
from mlflow_parity.reading import open_reader
from mlflow_parity.self_test.fault import Fault
from mlflow_parity.self_test.faults import FAULTS
from mlflow_parity.self_test.run import self_test
from mlflow_parity.snapshot import PARTS, SERVER_PARTS
from support.memory import Sink

#: What every audit of snapshots checks.
CHECKS = collected(snapshot=True)


@dataclass(frozen=True, slots=True)
class SelfTested:
    """An audit with its self-test."""

    result: Result
    test: SelfTest

    @property
    def in_themselves(self) -> set[tuple[str, str]]:
        """Kinds and facets in which a fault was seen, by the facet's own row."""
        return {(one.kind, one.facet) for one in self.test.of("found") if one.seen.split()[0] == one.facet}


def read(uri: str, folder: Path) -> Path:
    """Read a whole server into a snapshot."""
    location = parse_location(uri, option="--source-uri")
    reader = open_reader(location, "source", 4)
    try:
        side = Side("source", location, reader)
        parts = (*PARTS, *SERVER_PARTS)
        side.read(folder, side.experiments(), parts, "full", include_deleted=True, count=uncounted, model_links=True)
    finally:
        reader.close()
    return folder


def judged(
    source: Path, target: Path, *, faults: Sequence[Fault] = FAULTS, checks: Sequence[str] = CHECKS, **options: str
) -> SelfTested:
    """Audit two snapshots and plant these faults; ``options`` are those of the command line (``_`` for ``-``)."""
    given = {name.replace("_", "-"): text for name, text in options.items()}
    settings = resolve(
        {"source-uri": str(source), "target-uri": str(target), "report-dir": "reports", "workers": "4",
         "max-findings": "20", "self-test": "true", **given},
        {},
    )  # fmt: skip
    audit = Audit(settings, source, lambda name: Side(name, getattr(settings, name), None))
    items = audit.inventory()
    result = audit.run(select(checks, [item.key for item in items]), Sink(), Silent())
    return SelfTested(result, self_test(audit, result, faults))


def of_facets(kind: str, *facets: str) -> list[Fault]:
    """Return the classes of faults of a kind, of some facets where any is named."""
    return [fault for fault in FAULTS if fault.kind == kind and (not facets or fault.facet in facets)]
