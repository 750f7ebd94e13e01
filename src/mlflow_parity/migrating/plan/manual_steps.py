"""What a source holds and ``migrate`` brings nowhere: told before anything is written."""

from __future__ import annotations

from mlflow_parity.core.notice import Notice
from mlflow_parity.migrating.survey import Survey


def unwritten(survey: Survey, *, holds_webhooks: bool = True, enable_webhooks: bool = False) -> list[Notice]:
    """Refuse a source of which only one workspace would be moved; name what has to be made by hand."""
    found = []
    if secrets := survey.count("gateway_secret"):
        what = f"the source has {secrets:,} gateway secret{'s' * (secrets > 1)}"
        why = "no server exposes their values, and model definitions, endpoints and guardrails need them"
        fix = "make them on the target by hand, under the same names; what needs them comes then, or with the next run"
        found.append(Notice("warning", "source.secrets", what, why, fix))
    if holds_webhooks and (hooks := survey.count("webhook")):
        what = f"the source has {hooks:,} webhook{'s' * (hooks > 1)}, written last"
        what += ", with the status that each has on the source" if enable_webhooks else ", and disabled"
        why = "no server exposes their secrets: an active one sends unsigned events"
        fix = "" if enable_webhooks else "set their secrets on the target, then run again with --enable-webhooks"
        found.append(Notice("note", "source.webhooks", what, why, fix))
    if others := survey.count("workspace"):
        what = f"the source has {others:,} workspace{'s' * (others > 1)} beside the default one"
        fix = "move the runs of each by way of a server without workspaces, or with another tool"
        found.append(Notice("error", "source.workspaces", what, "a migration moves the default workspace only", fix))
    return found
