"""Places in S3 that data of the two servers names outside of their own roots: listed, and refused unless allowed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mlflow_parity.core.notice import Notice
from mlflow_parity.core.records import Experiment
from mlflow_parity.migrating.plan.write_probe import root_of
from mlflow_parity.reading.artifacts.trusted_places import MIGRATE_OPTION, MOST, TrustedPlaces

_WHY = "it lies outside of the server's own artifact root{root}, and would be {verb} with your AWS rights"


def named_places(trusted: TrustedPlaces) -> list[Notice]:
    """Return what the source's data names: one finding for each place, the source having been looked at."""
    found = [_refused("source", place, trusted, "read") for place in trusted.refused]
    if len(trusted.refused) >= MOST:
        what = f"the source names more than {MOST:,} places outside of its own artifact root: the others are not listed"
        found.append(
            Notice("error", "source.outside", what, "", f"pass {MIGRATE_OPTION} with a folder that holds several")
        )
    found += [
        Notice("note", "source.outside", f"allowed, and outside of the source's own artifact root: {place}")
        for place in trusted.used
    ]
    found += [
        Notice(
            "note", "source.outside", f"outside of the source's own artifact root, read by the server itself: {place}"
        )
        for place in trusted.others
    ]
    return found


def refused_root(trusted: TrustedPlaces, experiments: Sequence[Experiment]) -> list[Notice]:
    """Refuse a target that hands out places in S3 which are not shown to be its own."""
    root = root_of(experiments) or ""
    if not root.startswith("s3:") or not trusted.refusal(root):
        return []
    return [_refused("target", root, trusted, "written to")]


def refused_experiments(
    trusted: TrustedPlaces, experiments: Sequence[Experiment], names: Collection[str]
) -> list[Notice]:
    """Refuse experiments of the target into which files would go to a place that is not shown to be its own."""
    places = {
        one.artifact_location.rstrip("/"): None
        for one in experiments
        if one.name in names and one.artifact_location.startswith("s3:") and trusted.refusal(one.artifact_location)
    }
    return [_refused("target", place, trusted, "written to") for place in sorted(places)]


def _refused(side: str, place: str, trusted: TrustedPlaces, verb: str) -> Notice:
    root = f" ({trusted.root})" if trusted.root else ", which it does not show"
    return Notice(
        "error",
        f"{side}.outside",
        f"data of the {side} names {place}",
        _WHY.format(root=root, verb=verb),
        f"add {MIGRATE_OPTION} {place} if that may be; else correct it at the {side}",
    )
