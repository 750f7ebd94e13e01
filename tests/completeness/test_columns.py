"""Every column that a release of MLflow has is compared by a facet, or named with the reason why not."""

from __future__ import annotations

import pytest

from completeness.claims import (
    COLUMNS,
    INTERNAL,
    Claim,
    column_claims,
    columns,
    columns_of,
    unused_reasons,
    wrong_column,
)
from completeness.coverage import PAGE, markdown
from completeness.releases import RELEASES


@pytest.mark.parametrize("version", RELEASES)
def test_every_column_of_a_release_is_claimed(version: str) -> None:
    """What MLflow stores and nobody thought of is lost without a word, as attachments and links of traces were."""
    unclaimed = sorted(columns_of(version) - column_claims().keys())
    assert unclaimed == [], f"MLflow {version} has columns that {COLUMNS.name} does not name"


def test_every_claim_is_true() -> None:
    """A claim for a column that no release has, or by a facet that is not there, would promise what nobody does."""
    claims = column_claims()
    assert sorted(claims.keys() - columns().keys()) == []
    assert [one for name, claim in claims.items() for one in wrong_column(name, claim)] == []
    assert unused_reasons() == []


def test_what_is_wrong_with_a_claim_is_told() -> None:
    """Else a slip of the pen in the table of claims would pass as a reason, or as a facet."""
    assert list(wrong_column("runs.name", Claim(("run.name",)))) == []
    for slip in ("run.title", "runs.name", "internal own id", ""):
        assert list(wrong_column("runs.name", Claim((slip,)))) == [f"runs.name: there is no facet {slip!r}"]
    [told] = wrong_column("jobs.id", Claim((), INTERNAL, ""))
    assert "the reason is neither in columns.ini" in told


def test_the_page_is_up_to_date() -> None:
    """``docs/coverage.md`` is what ``make coverage`` writes: else people read of a coverage that is not there."""
    assert PAGE.read_text(encoding="utf-8") == markdown()
