"""Workspaces, and the scope of the audit itself: what must be equal, and what may differ and why."""

from __future__ import annotations

from mlflow_parity.kinds.schema.base import EVERY, Facet, Kind, equal, not_compared, own, presence, value

WORKSPACE = Kind(
    "workspace",
    "workspaces",
    "server",
    "workspaces",
    (
        presence(
            "One audit is of one workspace: that of MLFLOW_WORKSPACE, else the default one. Where none was "
            "chosen, every other is a finding; where one was, the report names the others as left out."
        ),
        value(
            "content",
            "all that it holds",
            "It is unverified until it is audited by itself.",
            not_compared(
                "settings",
                "description, artifact root and trace archival of a workspace",
                "Whoever runs the target makes its workspaces, before anything is migrated into them.",
            ),
        ),
    ),
    content=("content",),
    first=(3, 5),
    named=False,
    surely=(3, 10),
)

#: What limits an audit as a whole: rows that are about no object.
SCOPE: tuple[Facet, ...] = (
    own(
        "visibility",
        equal(
            "visibility",
            "what each server shows to the user who reads it",
            "Everything. Servers with MLflow's own login (basic-auth) leave out of their lists, without a "
            "word, what a user may not read; an administrator sees all. For any other user, and where it "
            "cannot be known, the audit is unverified. Only here, and for the release, a waiver accepts "
            "that; the report is then partial and says why.",
            holds_for=EVERY,
        ),
        not_compared(
            "accounts",
            "users, roles and permissions of MLflow's own login",
            "They belong to the server and not to its contents. The report counts them, where the user may list them.",
            holds_for=EVERY,
        ),
    ),
    own(
        "release",
        equal(
            "release",
            "the release of each server",
            "Not newer than the newest of which every kind of object is known; else the audit is unverified: "
            "what came since is not read. A waiver accepts that; the report is then partial and says why.",
            holds_for=EVERY,
        ),
    ),
)
