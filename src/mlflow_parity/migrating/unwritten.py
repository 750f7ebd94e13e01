"""What a source holds and ``migrate.py`` brings nowhere: told before anything is written."""

from __future__ import annotations

from mlflow_parity.contract import LATER
from mlflow_parity.kinds import KINDS
from mlflow_parity.migrating.findings import Found
from mlflow_parity.migrating.survey import Survey


def unwritten(survey: Survey) -> list[Found]:
    """Refuse a source of which only one workspace would be moved; name what is moved of none."""
    found = [
        Found(
            "warning",
            "source.unwritten",
            f"the source has {survey.count(kind):,} {KINDS[kind].plural}",
            "migrate.py does not write them",
            "make them on the target by hand; until then each is listed at the end, and the audit is red",
        )
        for kind in LATER
        if survey.count(kind)
    ]
    if others := survey.count("workspace"):
        what = f"the source has {others:,} workspace{'s' * (others > 1)} beside the default one"
        mend = "move the runs of each by way of a server without workspaces, or with another tool"
        found.append(Found("error", "source.workspaces", what, "migrate.py moves the default workspace only", mend))
    return found
