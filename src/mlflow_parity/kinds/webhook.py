"""Webhooks: what must be equal, and what may differ and why."""

from __future__ import annotations

from typing import Any

from mlflow_parity.core.json_text import whole
from mlflow_parity.kinds.schema.base import Kind, expected, not_compared, other, presence, status, times, value
from mlflow_parity.kinds.schema.listing import Asking, Entry, Listing
from mlflow_parity.kinds.schema.unknown import Each, claims, facet, hashed

_CLAIMED = claims(
    "webhook_id name description url status creation_timestamp last_updated_timestamp",
    events=Each(claims("entity action"), lambda entry: f"{entry.get('entity')}.{entry.get('action')}".lower()),
)


def _made(entry: Entry, _: Asking) -> tuple[str, dict[str, Any]]:
    created, updated = whole(entry.get("creation_timestamp")), whole(entry.get("last_updated_timestamp"))
    return entry.get("name", ""), {
        "name": entry.get("name", ""),
        "description": entry.get("description", ""),
        "url": entry.get("url", ""),
        "events": sorted(f"{event['entity']}.{event['action']}".lower() for event in entry.get("events", [])),
        "status": entry.get("status"),
        "times": {"creation": created, "update": updated},
        # what nothing knows of a webhook may be a secret: it is told by a digest
        **hashed(facet(entry, _CLAIMED)),
    }


WEBHOOK = Kind(
    "webhook",
    "webhooks",
    "server",
    "webhooks",
    (
        presence("By name. The Export Import tool moves none."),
        value("name", "name", "People tell it by its name."),
        value("description", "description", "Its note."),
        value("url", "url", "Whom it calls."),
        value("events", "events", "When it calls."),
        status(
            "status",
            "ACTIVE or DISABLED.",
            expected(
                "status.disabled",
                "status of an active webhook",
                "A migration writes it disabled: its receiver would get the events of what is written, and "
                "without the secret, which no server exposes.",
                "it is ACTIVE on the source and DISABLED on the target, and was created there: its id is another",
            ),
            not_compared("secret", "secret", "No server tells it."),
        ),
        times(),
        other(note="By a digest: it may be a secret."),
    ),
    content=("url", "events", "description"),
    first=(3, 3),
    listing=Listing("webhooks", "webhooks", "webhook_id", _made, page=1_000),
)
