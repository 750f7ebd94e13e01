"""The order of an import follows from what each kind says that it names."""

from __future__ import annotations

import pytest

from mlflow_parity.kinds import KINDS
from mlflow_parity.migrating.write.moving import ALL, Writing
from mlflow_parity.migrating.write.ordering import ORDER, WRITINGS, Order


def test_every_kind_is_written_or_a_known_exception() -> None:
    """A kind that is read, and that no import writes, would be left behind by every migration."""
    written = {kind for one in WRITINGS for kind in one.kinds}
    assert written == {"experiment", "run", *KINDS} - {"workspace"}
    assert all((one.write is None) != (one.visit is None) for one in WRITINGS)


def test_what_is_named_comes_first_and_webhooks_last() -> None:
    """An object that came before what it names would stay without its links; a webhook would call for each write."""
    at = {name: place for place, name in enumerate(ORDER.names)}
    for before, after in (
        ("experiment", "run"), ("run", "logged_model"), ("logged_model", "trace"),
        ("scorer again", "gateway_guardrail"),
        ("gateway_endpoint", "scorer again"), ("gateway_guardrail", "gateway_endpoint again"),
        ("gateway_secret", "gateway_model"), ("run again", "registered_model"), ("issue", "trace again"),
        ("gateway_endpoint again", "gateway_budget"), ("trace", "evaluation_dataset"), ("trace", "review_queue"),
    ):  # fmt: skip
        assert at[before] < at[after], f"{before} has to come before {after}"
    assert ORDER.names[-1] == "webhook"


def test_a_batch_takes_all_that_needs_nothing_of_other_batches() -> None:
    """What waits for the server's objects would fail in a batch, and what does not would fill the disk after it."""
    within = {name for name, _, _ in ORDER if ORDER.is_within(name)}
    assert within == {"experiment", "run", "logged_model", "trace", "scorer", "run again", "logged_model again"}


def test_a_new_kind_takes_its_place_by_its_links() -> None:
    """A kind that is added with its links would otherwise need its place found by hand."""
    new = Writing(("new_kind",), links=("review_queue",), write=lambda task: None)
    names = Order([new, *WRITINGS]).names
    assert names.index("review_queue") < names.index("new_kind") < names.index("webhook")
    with pytest.raises(KeyError):
        Order([Writing(("skill",), links=("no such kind",))])
    [webhooks] = [one for one in WRITINGS if one.kind == "webhook"]
    assert ALL in webhooks.links
