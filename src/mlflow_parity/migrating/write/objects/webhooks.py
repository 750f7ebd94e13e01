"""Webhooks: the last of all, and disabled; what this migration writes must be no event for them."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import quote

from mlflow_parity.core.errors import ReadError
from mlflow_parity.migrating.write.exported import every
from mlflow_parity.migrating.write.importing import Import
from mlflow_parity.migrating.write.moving import ALL, Task, Writing
from mlflow_parity.snapshot import SERVER

_WEBHOOKS = "/api/2.0/mlflow/webhooks"
_ACTIVE, _DISABLED = "ACTIVE", "DISABLED"


class PausedWebhooks:
    """Webhooks of this migration that somebody has enabled since: disabled while it writes, and enabled again."""

    def __init__(self, context: Import) -> None:
        self._context = context
        self._ids: list[str] = []

    def __enter__(self) -> None:
        ids = set(self._context.journal.ids("webhook").values())
        if not ids:
            return
        for batch in self._context.reader.server_objects("webhook"):
            for one in batch:
                if one.entity_id in ids and one.facets["status"] == _ACTIVE:
                    _set_status(self._context, one.entity_id, _DISABLED)
                    self._ids.append(one.entity_id)

    def __exit__(self, *_: object) -> None:
        still = _active_copies(self._context)
        for identity in self._ids:
            if identity not in still:
                continue
            # where the target does not answer it stays disabled, which the account at the end tells
            with suppress(ReadError):
                _set_status(self._context, identity, _ACTIVE)


def _set_status(context: Import, identity: str, status: str) -> None:
    path = f"{_WEBHOOKS}/{quote(identity, safe='')}"
    context.writer.call("PATCH", path, {"webhook_id": identity, "status": status})


def _active_copies(context: Import) -> set[str]:
    """Return the ids of copies of webhooks that are active on the source."""
    objects, copies = context.export.snapshot.objects(SERVER), context.journal.ids("webhook")
    if not copies or objects.problem("webhooks") is not None:
        return set()
    active = (one for one in every(objects, "webhook", chunk=100) if one.facets["status"] == _ACTIVE)
    return {copies[one.entity_id] for one in active if one.entity_id in copies}


def disabled_webhooks(context: Import) -> int:
    """Count the webhooks of this migration that are disabled on the target, and active on the source.

    Raises:
        ReadError: the target does not tell.
    """
    active = _active_copies(context)
    if not active:
        return 0
    there = (one for batch in context.reader.server_objects("webhook") for one in batch)
    return sum(one.entity_id in active and one.facets["status"] == _DISABLED for one in there)


def _write(task: Task) -> None:
    """Make a webhook, or bring it up to date; its secret cannot be read anywhere, and has to be set again.

    Until it has one, its receiver would get unsigned events, and it gets them for what a later run writes: so it is
    disabled, unless that is not wanted. One that is there already keeps the status that its owner gave it.
    """
    present, facets = task.copy, task.source.facets
    events = [one.partition(".") for one in facets["events"]]
    kept = _DISABLED if present is None else present.facets["status"]
    status = kept if facets["status"] == _ACTIVE and not task.context.enable_webhooks else facets["status"]
    body = {
        "name": task.source.name,
        "url": facets["url"],
        "description": facets["description"],
        "status": status,
        "events": [{"entity": entity.upper(), "action": action.upper()} for entity, _, action in events],
    }
    if present is None:
        task.make(_WEBHOOKS, body, lambda answer: answer["webhook"]["webhook_id"])
        return
    wanted = {**facets, "status": status}
    if any(present.facets[key] != wanted[key] for key in ("url", "description", "status", "events")):
        task.call("PATCH", f"{_WEBHOOKS}/{quote(present.entity_id, safe='')}", body)


WEBHOOKS = Writing(
    ("webhook",), links=(ALL,), write=_write, theirs=True, read_back=False, chunk=1,
    linked=lambda task: (task.context.enable_webhooks,),
)  # fmt: skip
