"""Where a restored store stands: one old and one new prefix for the whole server, and what is no move."""

from __future__ import annotations

import pytest

from mlflow_parity.pairing.relocation import Relocation, find

OLD, NEW = "s3://old/root", "s3://new"


@pytest.mark.parametrize(
    ("places", "move"),
    [
        ([], Relocation()),
        ([("s3://a/1", "s3://a/1")], Relocation()),
        ([(f"{OLD}/1", f"{NEW}/1")], Relocation(OLD, NEW)),
        ([(f"{OLD}/a/1", f"{NEW}/a/1")], Relocation(OLD, NEW)),
        ([("/x/1", "/y/1")], Relocation("/x", "/y")),
        ([("a/1", "b/1")], Relocation("a", "b")),
        # each stops at its own root, and a longer tail is the same move
        ([("a/b/1", "b/1")], Relocation("a/b", "b")),
        ([("b/1", "a/b/1")], Relocation("b", "a/b")),
        ([(f"{OLD}/1", f"{NEW}/1"), (f"{OLD}/sub/2", f"{NEW}/sub/2")], Relocation(OLD, NEW)),
        # more moved than stayed or went elsewhere
        ([(f"{OLD}/{n}", f"{NEW}/{n}") for n in range(2)] + [(f"{OLD}/9", f"{OLD}/9")], Relocation(OLD, NEW)),
        ([(f"{OLD}/{n}", f"{NEW}/{n}") for n in range(2)] + [(f"{OLD}/9", "s3://else/9")], Relocation(OLD, NEW)),
        ([(f"{OLD}/1", f"{NEW}/1"), (f"{OLD}/2", "s3://x/y")], Relocation()),
        ([(f"{OLD}/1", f"{NEW}/1"), ("s3://q/2", "s3://r/2"), ("s3://q/3", "s3://r/3")], Relocation("s3://q", "s3://r")),
        # the place itself has another name: that is no prefix of anything, and hides no move
        ([(f"{OLD}/1", f"{OLD}/2")], Relocation()),
        ([("a", "b")], Relocation()),
        ([(f"{OLD}/5", f"{OLD}/6"), (f"{OLD}/7", f"{OLD}/8"), ("s3://q/2", "s3://r/2")], Relocation("s3://q", "s3://r")),
        ([("/1", "s3://r/1")], Relocation()),
        ([("s3://r/1", "/1")], Relocation()),
        ([("/1", "s3://r/1"), ("/2", "s3://r/2"), ("s3://q/2", "s3://r/2")], Relocation("s3://q", "s3://r")),
        # what has no place says nothing
        ([(f"{OLD}/1", f"{NEW}/1"), (f"{OLD}/2", "")], Relocation(OLD, NEW)),
        ([("", f"{NEW}/1"), (f"{OLD}/1", "")], Relocation()),
        ([("", "s3://n/1"), ("", "s3://n/2"), (f"{OLD}/1", f"{NEW}/1")], Relocation(OLD, NEW)),
        # as many votes for two: in one order, whatever order they came in
        ([("s3://b/1", "s3://c/1"), ("s3://a/1", "s3://c/1")], Relocation("s3://a", "s3://c")),
        # one that is right although it has fewer votes
        ([("s/a/1", "t/a/1"), ("s/b/2", "t/b/2"), ("u/1", "t/1"), ("u/2", "t/2"), ("u/3", "u/3"), ("u/4", "u/4"),
          ("s/5", "t/5")], Relocation("s", "t")),
    ],
)  # fmt: skip
def test_which_move_the_places_tell(places: list[tuple[str, str]], move: Relocation) -> None:
    """By most of the experiments: a place that was altered alone is a difference, and no excuse for the others."""
    assert find(places) == move
    assert find(places[::-1]) == move


@pytest.mark.parametrize(
    ("move", "place", "where"),
    [
        (Relocation(OLD, NEW), f"{OLD}/1/a", f"{NEW}/1/a"),
        (Relocation(OLD, NEW), OLD, NEW),
        (Relocation(OLD, NEW), f"{OLD}er/1", f"{OLD}er/1"),
        (Relocation(OLD, NEW), "s3://x", "s3://x"),
        (Relocation(), "s3://x", "s3://x"),
        (Relocation(), "/x", "/x"),
        (Relocation(), "", ""),
    ],
)
def test_where_a_place_must_be(move: Relocation, place: str, where: str) -> None:
    """At the same place below the new prefix, and only what stands below the old one by whole names."""
    assert move(place) == where
