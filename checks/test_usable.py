"""Use: what people's clients ask of the target is answered as the source answers it (``--parity-usable``)."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_experiment_is_usable(parity_audited: Audited) -> None:
    """Every search of an experiment's runs, traces and spans finds on the target what it finds on the source."""
    parity_audited.keeps()
