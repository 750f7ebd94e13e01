"""``docs/scorecard.md``: what each way to move a server keeps and loses is what it was when the page was made."""

from __future__ import annotations

import pytest
from support import scorecard
from support.scorecard import ALTERED, EXTRA, KEPT, LOST, UNREAD, WAYS, Card
from support.servers import ServerPool

from mlflow_parity.core.verdict import Row, State


@pytest.fixture(scope="module")
def cards(server_pool: ServerPool) -> dict[str, Card]:
    """One server, moved by each way."""
    return scorecard.cards(server_pool)


@pytest.mark.long
def test_the_page_is_what_make_scorecard_writes(cards: dict[str, Card]) -> None:
    """Which kinds came whole by which way, how many objects there are, and every exit status."""
    kept = scorecard.fixed(scorecard.PAGE.read_text(encoding="utf-8"))
    dump, store = scorecard.dump_card(), scorecard.store_card()
    assert kept == scorecard.fixed(scorecard.page(cards, dump, store))
    assert dump.green, dump.reasons
    assert store.green, store.reasons


@pytest.mark.long
def test_only_what_loses_nothing_is_green(cards: dict[str, Card]) -> None:
    """The plain tool ends with 0 and loses; a copy and our migration keep every object."""
    for name in ("copy", "migrate"):
        assert cards[name].green, cards[name].reasons
        assert {fate for counts in cards[name].counts.values() for fate in counts} == {KEPT}
    whole = {kind: sum(counts.values()) for kind, counts in cards["copy"].counts.items()}
    for name in ("export-all", "threads", "single"):
        assert not cards[name].green
        assert sum(counts.get(LOST, 0) for counts in cards[name].counts.values()) > 5
        # every object of the source has exactly one fate
        fates = {
            kind: sum(count for fate, count in counts.items() if fate != EXTRA)
            for kind, counts in cards[name].counts.items()
        }
        assert fates == whole, name
    assert cards["export-all"].said.status == 0
    assert '"exceptions": 0' in cards["export-all"].said.line


def test_what_chance_decides_is_not_compared() -> None:
    """That a kind did not come whole counts, and how many there are; which of them are harmed does not."""
    line = "| runs | 2 kept, **3 altered**, **2 lost** | **6 lost** | 7 kept |"
    assert scorecard.fixed(f"{line}\n- 2 runs are missing") == (
        "| runs | of 7 some are harmed | of 6 some are harmed | 7 kept |"
    )
    assert scorecard.fixed(line.replace("**3 altered**, **2 lost**", "**4 altered**, **1 lost**, **1 extra**")) == (
        scorecard.fixed(line)
    )
    assert scorecard.fixed(line.replace("2 kept", "1 kept").replace("2 lost", "3 lost")) == scorecard.fixed(line)
    for other in (
        line.replace("2 lost", "1 lost"),
        line.replace("**6 lost**", "6 kept"),
        line.replace("7 kept", "6 kept"),
    ):
        assert scorecard.fixed(other) != scorecard.fixed(line)


def test_fates_are_counted_once() -> None:
    """An object with a row for each facet is one; the worst of them decides."""

    def row(name: str, facet: str, state: State, source: str | None = "", target: str | None = "t") -> Row:
        return Row("e", "run", name, name if source == "" else source, target, facet, state)

    rows = [
        row("a", "presence", State.MATCH),
        row("a", "tags", State.EXPECTED),
        row("b", "presence", State.MATCH),
        row("b", "tags", State.MISMATCH),
        row("b", "metrics", State.UNVERIFIED),
        row("c", "presence", State.MISSING, target=None),
        row("c", "tags", State.MISSING, target=None),
        row("d", "presence", State.MATCH),
        row("d", "metrics", State.UNVERIFIED),
        row("x", "presence", State.EXTRA, source=None),
        row("(all runs)", "presence", State.UNVERIFIED, source=None, target=None),
    ]
    assert scorecard.counts_of(rows) == {"run": {KEPT: 1, ALTERED: 1, LOST: 1, UNREAD: 2, EXTRA: 1}}
    assert len({way.name for way in WAYS}) == len(WAYS)
