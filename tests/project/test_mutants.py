"""The list of mutants that mean the same as the code, and what ``make mutants`` says of a run."""

from __future__ import annotations

import pytest
from support.mutants import LIST, Equal, Mutant, differing, kept, read, told

SAME = """
# a comment
[pairing.by_kind.f]
- a or b
+ a and b
- c
+ d
Nobody can tell
the difference.

- e
+
Nothing is the same as this.
[comparing.trees._facts]
- g
+ h
Another one.
"""


def test_the_list_is_read_as_it_is_written() -> None:
    """A function in brackets, what is altered, and below it why nobody can tell."""
    one = "pairing.by_kind.f"
    assert read(SAME) == [
        Equal(one, "a or b", "a and b", "Nobody can tell the difference."),
        Equal(one, "c", "d", "Nobody can tell the difference."),
        Equal(one, "e", "", "Nothing is the same as this."),
        Equal("comparing.trees._facts", "g", "h", "Another one."),
    ]


@pytest.mark.parametrize(
    "text", ["[a.b]\n- c\n+ d\n", "[a.b]\n- c\n+ d\n[e.f]\n- g\n+ h\nwhy\n", "why\n", "[a.b]\nwhy\n"]
)
def test_an_entry_without_reason_is_refused(text: str) -> None:
    """A survivor that nobody gave a thought is none that is equal."""
    with pytest.raises(ValueError, match="reason"):
        read(text)


def test_the_projects_own_list_can_be_read() -> None:
    """Each entry has its reason, and stands there once."""
    found = read(LIST.read_text(encoding="utf-8"))
    assert len({(one.function, one.less, one.more) for one in found}) == len(found)
    assert all(one.reason.endswith(".") and one.function.count(".") >= 2 for one in found)


def test_what_a_mutant_alters() -> None:
    """The lines from the first that differs to the last, each side as one."""
    assert differing(["f", "a", "b  c", "d"], ["f", "a", "x", "y", "d"]) == ("b c", "x y")
    assert differing(["f", "a", "a"], ["f", "a"]) == ("f a", "f")
    assert differing(["f", "g"], ["h", "g"]) == ("f", "h")


def test_what_was_found_out_holds_for_the_same_code_only() -> None:
    """A module that changed is asked again, though its mutants have the same names."""
    mutants = [Mutant(name, "a.b.c", "", "", "new") for name in "xyz"]
    assert kept(mutants, {"x": ["new", "test"], "y": ["old", "test"], "w": ["new", "test"]}) == {"x": "test"}


def _mutants(count: int) -> list[Mutant]:
    return [Mutant(f"m{n}", "pairing.by_kind.f", f"less {n}", f"more {n}") for n in range(count)]


def _equal(number: int) -> Equal:
    return Equal("pairing.by_kind.f", f"less {number}", f"more {number}", "The same.")


def test_a_run_is_well_when_nine_of_ten_are_noticed_and_the_others_are_listed() -> None:
    """The figure is that of all mutants, the listed ones included."""
    mutants = _mutants(20)
    lines, well = told(mutants, {f"m{n}": "t" for n in range(18)}, [_equal(18), _equal(19)])
    assert well
    assert lines == [
        "pairing: 18 of 20 noticed (90.0%)", "all: 18 of 20 noticed (90.0%)",
        "survivors: 2, not listed: 0; listed in vain: 0",
    ]  # fmt: skip
    assert not told(mutants, {f"m{n}": "t" for n in range(17)}, map(_equal, (17, 18, 19)))[1]


def test_a_survivor_that_is_not_listed_is_shown_and_fails() -> None:
    """In the form in which the list has it."""
    lines, well = told(_mutants(20), {f"m{n}": "t" for n in range(19)}, [])
    assert not well
    assert lines[:4] == ["[pairing.by_kind.f]", "- less 19", "+ more 19", ""]


def test_an_entry_that_no_mutant_has_any_more_fails() -> None:
    """The code changed, and whoever changed it looks again; what lies in other modules was not run."""
    noticed = {f"m{n}": "t" for n in range(20)}
    lines, well = told(_mutants(20), noticed, [_equal(77), Equal("pairing.matching.g", "a", "b", "The same.")])
    assert not well
    assert lines[0] == "listed, but there is no such mutant any more: pairing.by_kind.f: less 77"
    assert lines[-1] == "survivors: 0, not listed: 0; listed in vain: 1"
    lines, well = told(_mutants(20), noticed, [_equal(7)])
    assert well
    assert lines[0] == "listed, but a test notices it: pairing.by_kind.f: less 7"
