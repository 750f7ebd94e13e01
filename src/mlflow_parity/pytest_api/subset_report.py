"""What the report of one part of several says, so that all parts can be joined into one verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlflow_parity.audit.renames import Renames
from mlflow_parity.audit.result import Result
from mlflow_parity.audit.settings import Settings
from mlflow_parity.core.identity.digests import digest
from mlflow_parity.core.subset import Subset
from mlflow_parity.reading.transport.auth import SideName


def left_out(subset: Subset) -> list[str]:
    """Say which parts an audit of this one leaves out; the only part of one leaves out nothing, but is not joined."""
    if subset.of == 1:
        return ["what mlflow-parity merge looks at: this is part 1 of 1 (--parity-subset)"]
    what = "part" if subset.of == 2 else "parts"
    return [f"{what} {subset.others}: this is {subset} (--parity-subset); join them all with mlflow-parity merge"]


def nothing_in(subset: Subset) -> str:
    """Say that no object falls into a part."""
    return f"no object of what was selected falls into {subset}: nothing was compared in it"


def block(
    settings: Settings,
    renames: Renames | None,
    result: Result,
    checksums: str,
    etags: Mapping[SideName, Mapping[str, Sequence[str]]],
    *,
    partial: bool,
) -> Mapping[str, Any] | None:
    """Return what a report says of its part; ``partial``: a whole audit with the same options would be partial too.

    ``checksums`` is the digest of the checksum reports that were given, ``etags`` what was seen of those of each side.
    """
    subset, share = settings.subset, result.share
    if subset is None or share is None:
        return None
    return {
        "part": subset.part,
        "of": subset.of,
        "rows": sum(result.totals.values()),
        "partial": partial,
        "selection": digest([sorted(result.selection.items), sorted(result.selection.promises)]).hex(),
        "options": _options(settings, renames, checksums),
        "objects": share.whole.to_dict(),
        "models": {label: sorted(pairs) for label, pairs in sorted(share.models.items())},
        "etags": {side: {name: list(told[name]) for name in ("wrong", "rested")} for side, told in etags.items()},
        "unused_waivers": [
            {"waiver": number, "other_values": other} for number, other in sorted(result.unused.items())
        ],
    }


def _options(settings: Settings, renames: Renames | None, checksums: str) -> dict[str, str]:
    """Return the options that say what is judged, and how."""
    return {
        "--parity-experiments": ",".join(settings.experiments),
        "--parity-exclude-experiments": ",".join(settings.exclude_experiments),
        "--parity-models": ",".join(settings.models),
        "--parity-include-deleted": str(settings.include_deleted).lower(),
        "--parity-depth": settings.depth,
        "--parity-evidence": settings.evidence,
        "--parity-checksums": checksums,
        "--parity-known-hashes": str(settings.known_hashes).lower(),
        "--parity-profile": settings.profile,
        "--parity-load-models": str(settings.load_models).lower(),
        "--parity-usable": str(settings.usable).lower(),
        "--parity-two-servers": str(settings.two_servers).lower(),
        "--parity-rename": renames.digest if renames else "",
        # what is read of it, and told of the whole; under which address is no matter, as each part knows it for its own
        "--source-db": str(settings.source_db is not None).lower(),
        "--target-db": str(settings.target_db is not None).lower(),
        "--parity-max-findings": str(settings.max_findings),
    }
