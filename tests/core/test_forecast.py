"""The time that is left: never negative, more for more work, and exact where each sort of work costs what it cost."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.report_samples import unhurried

from mlflow_parity.core.forecast import SORTS, Amount, Expected, Forecast, time_left

_NUMBERS = st.integers(0, 10**9)
AMOUNTS = st.builds(Amount, *(_NUMBERS for _ in fields(Amount)))
#: One thing that a thread has read: its thread, the seconds since the last one, and what it was.
READINGS = st.lists(st.tuples(st.integers(1, 4), st.floats(0, 1e4), AMOUNTS), max_size=30)
PACES = st.dictionaries(st.sampled_from(SORTS), st.floats(1e-9, 1e3), max_size=len(SORTS))


def after(readings: list[tuple[int, float, Amount]]) -> Forecast:
    """Return what is known after these."""
    forecast, now = Forecast(100.0), 100.0
    for thread, seconds, amount in readings:
        now += seconds
        forecast.add(thread, now, amount)
    return forecast


@given(READINGS, AMOUNTS, PACES, st.floats(0, 1e4), st.floats(0, 1e6))
@unhurried
def test_it_is_never_negative(
    readings: list[tuple[int, float, Amount]], whole: Amount, paces: dict[str, float], follows: float, later: float
) -> None:
    """Whatever was read, also more than was expected, and however late it is."""
    forecast = after(readings)
    expected = Expected(whole, paces, follows)
    left = forecast.left(expected)
    assert left is None or left >= 0
    told = time_left({"source": (forecast, expected)}, forecast.latest + later)
    assert told is None or told > 0
    assert time_left({}, 1.0) is None


@given(READINGS, AMOUNTS, AMOUNTS, PACES)
@unhurried
def test_more_work_takes_longer(
    readings: list[tuple[int, float, Amount]], whole: Amount, more: Amount, paces: dict[str, float]
) -> None:
    """Of the same beginning, more work is never said to be done sooner."""
    forecast = after(readings)
    less = forecast.left(Expected(whole, paces))
    greater = forecast.left(Expected(whole + more, paces))
    assume(less is not None and greater is not None)
    assert less is not None
    assert greater is not None
    assert greater >= less * (1 - 1e-9)


@given(
    st.lists(st.tuples(st.integers(1, 1000), st.floats(0.001, 10.0)), min_size=4, max_size=4),
    st.lists(st.integers(0, 20), min_size=4, max_size=4),
    st.integers(1, 3),
)
@unhurried
def test_it_is_exact_where_costs_are_constant(costs: list[tuple[int, float]], rest: list[int], threads: int) -> None:
    """Mixed sorts, each at a pace of its own, and the rest in another mixture than what was read."""
    names = ("runs", "points", "files", "objects")
    forecast, whole, now, truth = Forecast(0.0), Amount(), dict.fromkeys(range(threads), 0.0), 0.0
    for name, (number, seconds), more in zip(names, costs, rest, strict=True):
        amount = Amount(**{name: number})
        for thread in now:
            # all threads are busy all the time, so that the work is shared evenly
            now[thread] += seconds
            forecast.add(thread, now[thread], amount)
            whole += amount
        whole += Amount(**{name: number * more})
        truth += seconds * more / threads
    left = forecast.left(Expected(whole, {}))
    elapsed = max(now.values())
    if elapsed < 1.0 or elapsed < 0.04 * (elapsed + truth):
        assert left is None
    else:
        assert left == pytest.approx(truth, rel=1e-6)


def test_nothing_is_said_before_enough_is_known() -> None:
    """Not in the first moments, nor while most of what is left is a guess."""
    forecast = Forecast(0.0)
    whole = Expected(Amount(runs=1000), {})
    assert forecast.left(whole) is None
    forecast.add(1, 0.5, Amount(runs=500))
    assert forecast.left(whole) is None
    forecast.add(1, 2.0, Amount(runs=10))
    assert forecast.left(whole) == pytest.approx(490 * 2.0 / 510)
    # of points nothing is known, and they would be nearly all
    assert forecast.left(Expected(Amount(runs=1000, points=10**9), {})) is None
    # a probe is knowledge, and what is far off is not said by it
    assert forecast.left(Expected(Amount(runs=1000, points=1000), {"points": 0.01})) == pytest.approx(
        490 * 2.0 / 510 + 10.0
    )


def test_the_rest_is_the_whole_less_what_was_read() -> None:
    """Files that come first are no sign of as many in what follows: else a mixed server is twice as long as it is."""
    forecast = Forecast(0.0)
    forecast.add(1, 10.0, Amount(trees=100, files=1000))
    forecast.add(1, 10.5, Amount(runs=100))
    # a thousand runs more, and no file more
    whole = Expected(Amount(runs=1100, trees=100, files=1000), {})
    assert forecast.left(whole) == pytest.approx(5.0)


def test_both_sides_are_waited_for() -> None:
    """The slower one counts, then what follows for both; where one is not known, nothing is."""
    ours, theirs = Forecast(0.0), Forecast(0.0)
    ours.add(1, 10.0, Amount(runs=100))
    theirs.add(2, 8.0, Amount(runs=100))
    sides = {
        "source": (ours, Expected(Amount(runs=200), {}, after=3.0)),
        "target": (theirs, Expected(Amount(runs=400), {}, after=1.0)),
    }
    assert time_left(sides, 10.0) == pytest.approx(8.0 + 24.0 + 4.0 - 10.0)
    assert time_left(sides, 1e6) is None
    assert time_left({**sides, "target": (Forecast(0.0), sides["target"][1])}, 10.0) is None


def test_chance_is_not_taken_for_a_slower_side() -> None:
    """Two sides that are alike end together, and one of them seems later by chance while little was read."""
    few, many = 2.0, 1000.0
    for elapsed, told in ((few, "less"), (many, "the later")):
        ours, theirs = Forecast(0.0), Forecast(0.0)
        ours.add(1, elapsed, Amount(runs=100))
        theirs.add(2, elapsed, Amount(runs=70))
        sides = {
            "source": (ours, Expected(Amount(runs=700), {})),
            "target": (theirs, Expected(Amount(runs=700), {})),
        }
        later = 630 / 70 * elapsed
        left = time_left(sides, elapsed)
        assert left is not None
        assert left == pytest.approx(later, rel=0.01) if told == "the later" else left < 0.9 * later
