"""Use: what people's clients ask of the target is answered as the source answers it (``--parity-usable``)."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_experiment_is_usable(parity_audited: Audited) -> None:
    """Every search of an experiment's runs, images, traces and spans finds on the target what the source's finds."""
    parity_audited.keeps()


def test_registered_model_is_usable(parity_audited: Audited) -> None:
    """Searches find a registered model and its versions, and stages and aliases lead to them, as on the source."""
    parity_audited.keeps()


def test_prompt_is_usable(parity_audited: Audited) -> None:
    """Searches find a prompt and its versions, and aliases lead to them, as on the source."""
    parity_audited.keeps()
