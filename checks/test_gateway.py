"""The AI gateway: secrets, model definitions, endpoints, guardrails, budgets."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_gateway_secrets(parity_audited: Audited) -> None:
    """Every secret of the AI gateway is on the target, as far as a secret can be read."""
    parity_audited.keeps()


def test_gateway_model_definitions(parity_audited: Audited) -> None:
    """Every model definition of the AI gateway is on the target."""
    parity_audited.keeps()


def test_gateway_endpoints(parity_audited: Audited) -> None:
    """Every endpoint of the AI gateway is on the target, with its models."""
    parity_audited.keeps()


def test_gateway_guardrails(parity_audited: Audited) -> None:
    """Every guardrail of the AI gateway is on the target, with its scorer."""
    parity_audited.keeps()


def test_gateway_budgets(parity_audited: Audited) -> None:
    """Every budget of the AI gateway is on the target."""
    parity_audited.keeps()
