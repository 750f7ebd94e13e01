"""Servers: what limits an audit as a whole, whatever it compares."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_users_see_everything(parity_audited: Audited) -> None:
    """Each server shows everything that it holds to the user who reads it."""
    parity_audited.keeps()


def test_releases_are_known(parity_audited: Audited) -> None:
    """Neither server's release is newer than the newest of which all kinds of object are known."""
    parity_audited.keeps()
