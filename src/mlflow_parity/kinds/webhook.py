"""Webhooks: what must be equal, and what may differ and why."""

from __future__ import annotations

from mlflow_parity.kinds.base import Kind, expected, not_compared, presence, status, times, value

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
    ),
    content=("url", "events", "description"),
    first=(3, 3),
)
