"""Curves of metric histories: both sides in one scale, what only one has marked, whatever the points are."""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
from support.audits import audit
from support.browser import Page, assert_inert
from support.curve_samples import sample, series
from support.report_samples import report, unhurried
from support.seed import EPOCH, Seeder
from support.servers import FreshServer

from mlflow_parity.reporting.page.curves import MOST, compared, drawn
from mlflow_parity.reporting.page.html_report import render


def parsed(picture: str) -> ElementTree.Element:
    """Return a picture without the words below it."""
    return ElementTree.fromstring(str(picture).partition("</svg>")[0] + "</svg>")


def test_the_point_that_differs_is_marked_on_both_sides() -> None:
    """The mark stands where the line goes, in the scale of both."""
    made = sample()
    assert made.axis == "step 0 to 49"
    assert made.source.marks == ((20.0, 1 / 21),)
    assert made.target.marks == ((20.0, 0.9),)
    assert (made.source.points, made.source.only_here) == (50, 1)
    for picture in drawn(made):
        tree = parsed(picture)
        [circle] = tree.iter("circle")
        line = [tuple(map(float, one.split(","))) for one in next(tree.iter("polyline")).attrib["points"].split()]
        assert (float(circle.attrib["cx"]), float(circle.attrib["cy"])) in line
        assert len(line) == 50
    assert [one.text for one in parsed(drawn(made)[0]).iter("text")] == ["1", "0.02", "step 0 to 49"]


def test_what_the_contract_lets_differ_is_no_difference() -> None:
    """Equal points have no curves; an infinite value that a SQL store rewrites is no mark."""
    ours = [(step, EPOCH, float(step)) for step in range(5)]
    assert compared(series(ours), series(ours)) is None
    rewritten = [*ours, (9, EPOCH, math.inf)], [*ours, (9, EPOCH, 1.7976931348623157e308)]
    assert compared(*map(series, rewritten)) is None


def test_points_of_one_step_are_laid_out_by_time_or_order() -> None:
    """Who logs no steps sees the curve all the same."""
    ours = [(0, EPOCH + 10 * number, float(number)) for number in range(6)]
    made = compared(series(ours), series(ours[:-1]))
    assert made is not None
    assert (made.axis, made.source.marks) == (f"ms {EPOCH} to {EPOCH + 50}", ((EPOCH + 50.0, 5.0),))
    same = [(0, EPOCH, float(number)) for number in range(6)]
    made = compared(series(same), series(same[:-1]))
    assert made is not None
    assert (made.axis, made.source.marks) == ("point 1 to 6", ((6.0, 5.0),))
    # of equal values only as many are ringed as there are too many
    last = (0, EPOCH, 1.0)
    made = compared(series([(0, EPOCH, 0.0)] * 3 + [last]), series([(0, EPOCH, 0.0)] * 2 + [last]))
    assert made is not None
    assert (len(made.source.marks), made.target.marks) == (1, ())


def test_a_long_history_keeps_its_ends_and_its_peaks() -> None:
    """Of 100,000 points some hundred are drawn, the one that stands out among them."""
    ours = [(step, EPOCH, math.sin(step / 9_000)) for step in range(100_000)]
    ours[77_777] = (77_777, EPOCH, 40.0)
    made = compared(series(ours), series(ours[:-3]))
    assert made is not None
    assert len(made.source.line) <= 202
    assert (77_777.0, 40.0) in made.source.line
    assert made.source.line[-1][0] == 99_999
    assert sum(map(len, drawn(made))) < 10_000


_POINTS = st.lists(
    st.tuples(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 9), st.integers(0, 2**62), st.floats(width=64)),
    max_size=20,
)


def test_what_is_not_drawn_is_said() -> None:
    """More points than are ringed, and those that are not finite, stand in words below the curve."""
    ours = [(step, EPOCH, float(step)) for step in range(500)]
    made = compared(series(ours), series([(step, EPOCH, step + 0.5) for step in range(500)]))
    assert made is not None
    assert made.source.told("source") == "500 points, 500 on the source only (39 ringed)"
    made = compared(series([(0, EPOCH, math.nan), (9, EPOCH, 1.0)]), series([(9, EPOCH, 1.0)]))
    assert made is not None
    assert made.source.told("source") == "2 points, 1 on the source only (0 ringed); 1 not finite, not drawn"
    assert made.axis == "step 0 to 9"
    assert "1 not finite, not drawn" in drawn(made)[0]


@given(_POINTS, _POINTS)
@unhurried
def test_any_two_histories_can_be_drawn(
    ours: list[tuple[int, int, float]], theirs: list[tuple[int, int, float]]
) -> None:
    """Largest and least numbers, NaN and infinity: each picture is well-formed and stays in its frame."""
    made = compared(series(ours), series(theirs))
    if made is None:
        return
    for curve, picture in zip((made.source, made.target), drawn(made), strict=True):
        tree = parsed(picture)
        across, down = map(float, tree.attrib["viewBox"].split()[2:])
        places = next(tree.iter("polyline")).attrib["points"].split()
        assert len(places) == curve.points - curve.not_finite
        places += [f"{one.attrib['cx']},{one.attrib['cy']}" for one in tree.iter("circle")]
        for place in places:
            x, y = map(float, place.split(","))
            assert 0 <= x <= across
            assert 0 <= y <= down


def test_the_page_draws_them_and_stays_inert() -> None:
    """Beside the values of the metric, and of no other finding."""
    key = ("a1" * 16, "b2" * 16, "val/accuracy")
    document = render(report(), curves={key: sample(), ("x", "y", "owner"): sample()})
    page = Page(document)
    assert_inert(page)
    assert page.unclosed == []
    assert document.count('<svg class="curve"') == 2
    assert "50 points, 1 on the source only" in page.words
    assert '<svg class="curve"' not in render(report())


def test_an_audit_draws_what_differs(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Of 30 histories that differ the first ones are drawn, with the altered point; a lost one is said in words."""
    servers = fresh_server(), fresh_server()
    for altered, server in enumerate(servers):
        seed = Seeder(server.uri)
        experiment = seed.experiment("shop")
        for number in range(30):
            run = seed.run(experiment, f"run {number}", start=EPOCH + number)
            last = 9.5 if altered else 1.5
            points = [("loss", last if step == 5 else step / 10, EPOCH + step, step) for step in range(10)]
            if not altered:
                points += [("lost", 1.0, EPOCH, 0)]
            seed.log(run, metrics=points)
            seed.end(run)
    found = audit(tmp_path, servers[0].uri, servers[1].uri, "--parity-max-findings", "100")
    assert found.status == 1
    document = (found.reports / "report.html").read_text(encoding="utf-8")
    pictures = re.findall(r'<svg class="curve".*?</p>', document, re.DOTALL)
    assert len(pictures) == 2 * MOST
    marks = [(one.attrib["cx"], one.attrib["cy"]) for one in parsed(pictures[1]).iter("circle")]
    assert len(marks) == 1
    assert "10 points, 1 on the target only" in pictures[1]
    assert "curves" not in found.report
