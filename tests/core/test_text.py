"""Data made safe to print: nothing acts, nothing hides, nothing that differs looks equal."""

from __future__ import annotations

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from support.report_samples import texts, unhurried

from mlflow_parity.core.text import crop, distinct, encodable, json_safe, shorten, shorten_pair, visible, width

#: Format characters that have a glyph of their own.
_SEEN_FORMATS = set("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u0890\u0891\u08e2")


def test_every_invisible_character_is_escaped() -> None:
    """Controls, format characters, odd spaces, separators and surrogates of all of Unicode become escapes."""
    for code in range(0x110000):
        character = chr(code)
        category = unicodedata.category(character)
        if category in ("Cc", "Cs", "Zl", "Zp") or (category == "Zs" and character != " "):
            assert visible(character).startswith("\\"), hex(code)
        if category == "Cf" and character not in _SEEN_FORMATS:
            assert visible(character).startswith("\\"), hex(code)


def test_visible_keeps_what_people_write() -> None:
    """Letters of any script, marks and emoji stay; line breaks stay only in blocks."""
    text = "naïve – 日本語 עברית ✓ ❤️"
    assert visible(text) == text
    assert visible("a\tb\nc") == "a\\tb\\nc"
    assert visible("a\tb\nc\r", multiline=True) == "a\tb\nc\\r"


def test_attacks_become_text() -> None:
    """An ANSI escape, a bidirectional override and a C1 control lose their power and can be read."""
    assert visible("\x1b[31m\u202e\x9b2J\U000e0041") == "\\x1b[31m\\u202e\\x9b2J\\U000e0041"


@given(texts)
@unhurried
def test_visible_is_stable_and_encodable(text: str) -> None:
    """Whatever the text, the result is UTF-8, and making it visible twice changes nothing."""
    once = visible(text)
    once.encode("utf-8")
    assert visible(once) == once
    encodable(text).encode("utf-8")


@given(st.recursive(texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=8))
@unhurried
def test_json_safe_changes_nothing_in_meaning(value: object) -> None:
    """A JSON document whose invisible characters were escaped says the same as before."""
    document = json.dumps(value, ensure_ascii=False, indent=1)
    safe = json_safe(document)
    assert json.loads(safe) == json.loads(document)
    safe.encode("utf-8")


@given(texts, st.integers(0, 200))
@unhurried
def test_cut_texts_fit(text: str, columns: int) -> None:
    """Cropped and shortened texts take no more columns than allowed; short ones are left alone."""
    shown = visible(text)
    assert width(crop(shown, columns)) <= columns
    assert width(shorten(shown, columns)) <= columns
    if width(shown) <= columns:
        assert crop(shown, columns) == shorten(shown, columns) == shown


def test_shortened_text_tells_its_length() -> None:
    """The middle goes, both ends stay, and the length is said."""
    assert shorten("a" + "x" * 998 + "z", 40) == "a" + "x" * 9 + "…[1,000 characters]…" + "x" * 9 + "z"


def test_shortened_pair_shows_where_it_differs() -> None:
    """Two long values that differ in the middle are cut so that the difference can be seen."""
    source, target = "x" * 5_000 + "A" + "y" * 5_000, "x" * 5_000 + "B" + "y" * 5_000
    first, second = shorten_pair(source, target, 80)
    assert first != second
    assert first.startswith("[4,988 equal characters]…xxxxxxxxxxxxA")
    assert second.startswith("[4,988 equal characters]…xxxxxxxxxxxxB")
    assert max(width(first), width(second)) <= 80


@given(texts, texts, st.integers(70, 200))
@unhurried
def test_shortened_pairs_fit(source: str, target: str, columns: int) -> None:
    """Whatever the two values, neither takes more columns than allowed."""
    for text in shorten_pair(visible(source), visible(target), columns):
        assert width(text) <= columns


@given(texts, texts, st.booleans())
@unhurried
def test_different_values_never_look_equal(source: str, target: str, multiline: bool) -> None:
    """Values that differ are shown differently; equal ones alike."""
    first, second = distinct(source, target, multiline=multiline)
    assert (first == second) is (source == target)


def test_composition_and_escapes_are_told_apart() -> None:
    """One character or two for an é, and an escape against what it stands for, are spelled out."""
    assert distinct("\u00e9", "e\u0301") == ("\\xe9", "e\\u0301")
    assert distinct("\u202e", "\\u202e") == ("\\u202e", "\\\\u202e")
    assert distinct(None, "é") == (None, "é")
