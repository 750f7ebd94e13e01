"""What kinds tell of an object: its keys, its files' names, and where a copy may keep its files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from support.records import an_entity, an_experiment

from mlflow_parity import kinds
from mlflow_parity.kinds.conventions import attachments, copy_places, logged_images
from mlflow_parity.kinds.conventions.copy_places import (
    CopyPlaces,
    canonical,
    host_of,
    is_below,
    is_host,
    roots_of,
    stores_of,
)
from mlflow_parity.kinds.rules import contract
from mlflow_parity.kinds.schema.base import equal, expected, not_compared, presence

# --- keys of objects

NAME, VERSION = "mlflow_exim.field.name", "mlflow_exim.field.version"


@pytest.mark.parametrize(
    ("kind", "name", "facets", "natural"),
    [
        ("trace", "ask", {"times": {"request": 5, "duration": 1}, "client_request_id": "c"}, ["ask", 5, "c"]),
        ("trace", "ask", {"times": None}, ["ask", None, None]),
        ("scorer", "tone", {"number": 2}, ["tone", 2]),
        ("model_version", "a/b/3", {"number": 3}, ["a/b", 3]),
        ("prompt_version", "greet version 3", {"number": 3}, ["greet version 3", 3]),
        ("logged_model", "net/1", {"type": "x"}, ["net/1", "x"]),
        ("webhook", "hook/1", {"number": 1, "type": "x"}, ["hook/1"]),
    ],
)
def test_by_what_people_tell_an_object(kind: str, name: str, facets: dict[str, Any], natural: list[Any]) -> None:
    """The key by which an object without its id is found: a wrong one pairs it with another."""
    assert kinds.natural(dataclasses.replace(an_entity(kind, **facets), name=name)) == natural


def test_what_tells_an_object_from_its_like() -> None:
    """Without source tags, which the import wrote; a facet that was not read is none."""
    model = an_entity("logged_model", type="x", params={"a": 1}, tags={"k": "v", NAME: "n"}, name="other")
    assert kinds.content(model) == ["x", {"a": 1}, {"k": "v"}]
    assert kinds.content(an_entity("logged_model", type="x", tags=None)) == ["x", None, {}]


@pytest.mark.parametrize(
    ("kind", "tags", "origin", "origins"),
    [
        ("model_version", {NAME: "m", VERSION: "3"}, "m/3", "m/3"),
        ("model_version", {NAME: "m"}, None, None),
        ("model_version", {VERSION: "3"}, None, None),
        ("model_version", None, None, None),
        ("prompt_version", {NAME: "m", VERSION: "3"}, None, None),
        ("model_version", {NAME: "m", VERSION: "3", "mlflow_exim.hop1.field.name": "o",
                           "mlflow_exim.hop1.field.version": "2"}, "m/3", "m/3\no/2"),
    ],
)  # fmt: skip
def test_which_version_a_copys_source_tags_name(kind: str, tags: Any, origin: str | None, origins: str | None) -> None:
    """Hop by hop, where it was migrated before."""
    entity = an_entity(kind, tags=tags)
    assert (kinds.origin(entity), kinds.origins(entity)) == (origin, origins)


def test_what_belongs_to_what() -> None:
    """The item in which a kind is judged, its names, and its part of a snapshot."""
    assert [kinds.family_of(one) for one in ("run", "experiment", "model_version", "server", "webhook")] == [
        "experiment", "experiment", "model", "scope", "server",
    ]  # fmt: skip
    assert [kinds.plural_of(one) for one in ("run", "experiment", "logged_model")] == [
        "runs",
        "experiments",
        "logged models",
    ]
    assert [kinds.singular_of(one) for one in ("run", "logged_model")] == ["run", "logged model"]
    assert [kind.name for kind in kinds.of_family("prompt")] == ["prompt", "prompt_version"]
    assert [kind.name for kind in kinds.of_part("traces")] == ["trace"]


# --- the contract

ROOT = Path(__file__).parents[2]


def test_the_digest_of_the_contract_is_that_of_its_rules() -> None:
    """A report names it: two reports with one digest were judged by the same rules."""
    text = json.dumps([dataclasses.asdict(rule) for rule in contract.RULES], sort_keys=True)
    assert contract.digest() == hashlib.blake2b(text.encode(), digest_size=32).hexdigest()


def test_the_page_is_the_contract() -> None:
    """What users read is what is judged."""
    assert (ROOT / "docs" / "contract.md").read_text(encoding="utf-8") == contract.markdown()


def test_a_row_of_the_page() -> None:
    """A bar within a cell does not end it; a rule without a condition holds always, for the profiles that it names."""
    rule = dataclasses.replace(expected("x.y", "a|b", "because | so", "when | then"), kind="run")
    assert contract._markdown_row(rule) == (
        "| a\\|b | expected | when \\| then | because \\| so | every MLflow server from 2.16 | export-import | `x.y` |"
    )
    always = equal("x", "f", "r")
    assert contract._markdown_row(always) == "| f | equal | always | r | every MLflow server from 2.16 | all | `x` |"


def test_rules_for_a_store_that_went_on_come_last() -> None:
    """Each kind has one that lets nothing differ; the scope of an audit has none."""
    sides = [presence("reason", expected("id", "id", "r", profiles=("same-store",)), not_compared("n", "n", "r"))]
    found = list(contract._rules("run", sides))
    assert [(rule.id, rule.profiles) for rule in found] == [
        ("presence", ("export-import", "same-store")), ("n", ("export-import", "same-store")),
        ("run.same-store", ("same-store",)), ("id", ("same-store",)),
    ]  # fmt: skip
    every = found[2]
    assert (every.kind, every.facet, every.field, every.treatment, every.when) == (
        "run", "presence", "every field", "equal", "",
    )  # fmt: skip
    assert every.reason.startswith("The store itself went on, so nothing may differ")
    assert [rule.id for rule in contract._rules("server", sides)] == ["presence", "n", "id"]


@pytest.mark.parametrize(
    ("rule", "profile", "allowed"),
    [
        ("run.times.start", "export-import", True), ("run.times.start", "same-store", False),
        ("run.artifact_uri.moved", "same-store", True), ("run.artifact_uri.moved", "export-import", False),
        ("run.nothing", "export-import", False), ("run.nothing", "same-store", False),
    ],
)  # fmt: skip
def test_a_rule_lets_differ_under_its_profiles_only(rule: str, profile: Any, allowed: bool) -> None:
    """What is not in the contract lets nothing differ."""
    assert contract.allows(rule, profile) is allowed


# --- attachments and images

ONE, TWO = "12345678-1234-1234-1234-123456789012", "02345678-1234-1234-1234-123456789012"
REFERENCE = "mlflow-attachment://{}?content_type=image/png&trace_id={}&size=3".format


def test_attachments_that_spans_name() -> None:
    """Each once, wherever it stands; what only looks like one is none."""
    spans = [{"inputs": [REFERENCE(ONE, "t"), {"é": f"see {REFERENCE(TWO, 't')}"}]}, {"outputs": REFERENCE(ONE, "t")}]
    assert attachments.named(spans) == [TWO, ONE]
    assert attachments.named([{"a": f"mlflow-attachment://{ONE}0"}]) == []
    assert attachments.named([{"a": ONE}]) == []
    assert attachments.named([{"a": f"mlflow-attachment://{ONE}é"}]) == [ONE]


def test_a_reference_names_the_copys_trace() -> None:
    """At any depth, and nothing else of the text changes."""
    copies = {"t": "u"}.get
    value = {"a": [REFERENCE(ONE, "t"), f"{REFERENCE(ONE, 't')} {REFERENCE(TWO, 'x')}", 5, None], "t": "t"}
    assert attachments.referring(value, lambda one: copies(one) or one) == {
        "a": [REFERENCE(ONE, "u"), f"{REFERENCE(ONE, 'u')} {REFERENCE(TWO, 'x')}", 5, None], "t": "t",
    }  # fmt: skip


UUID = "0a9d6313-188b-4c74-b0eb-578967659d2a"
IMAGE = f"images/a#b#c%step%20%timestamp%1712345678901%{UUID}"
NEWER = f"images/a~b~c+step+20+timestamp+1712345678901+{UUID}"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (f"{IMAGE}.png", f"{NEWER}.png"),
        (f"{IMAGE}%compressed.webp", f"{NEWER}+compressed.webp"),
        (f"{IMAGE}.jpg", None),
        (f"x/{IMAGE}.png", None),
        (f"{NEWER}.png", None),
        # names that a proxy has decoded: three characters became one
        (IMAGE.replace("%20%", " %") + ".png", f"{NEWER}.png"),
        (IMAGE.replace("%step%20", "%step%5") + ".png", NEWER.replace("+20+", "+5+") + ".png"),
        (IMAGE.replace("%timestamp%17", "%timestamp\x17") + ".png", f"{NEWER}.png"),
        (IMAGE.replace("%0a", "\n") + ".png", f"{NEWER}.png"),
        (IMAGE.replace("%0a", "\x7f") + ".png", NEWER.replace("+0a", "+7f") + ".png"),
        (IMAGE.replace("%0a", "\x80") + ".png", NEWER.replace("+0a", "+\x80") + ".png"),
        (IMAGE.replace("%0a", "\ufffd") + ".png", NEWER.replace("+0a", "+\ufffd") + ".png"),
        (IMAGE.replace("%20", "%") + ".png", NEWER.replace("+20", "+25") + ".png"),
    ],
)
def test_the_newer_name_of_an_image(path: str, name: str | None) -> None:
    """Under it newer clients and pages find the image; any other file keeps its name."""
    assert logged_images.newer_name(path) == name


def test_no_image_takes_anothers_name() -> None:
    """One that is there, or that two of them would get, is given to none."""
    decoded = IMAGE.replace("%20%", " %") + ".png"
    assert logged_images.newer_names([f"{IMAGE}.png", "b"]) == {f"{IMAGE}.png": f"{NEWER}.png"}
    assert logged_images.newer_names([f"{IMAGE}.png", f"{NEWER}.png"]) == {}
    assert logged_images.newer_names([f"{IMAGE}.png", decoded]) == {}
    both = logged_images.newer_names([f"{IMAGE}.png", f"{IMAGE}%compressed.webp"])
    assert len(both) == 2


# --- places

PROXY = "/api/2.0/mlflow-artifacts/artifacts"


@pytest.mark.parametrize(
    ("place", "one", "host"),
    [
        (f"http://Ada@HOST:1{PROXY}/1/x/", "mlflow-artifacts://host:1/1/x", "host:1"),
        (f"https://host{PROXY}/1/x", "mlflow-artifacts://host/1/x", "host"),
        (f"http://h/a{PROXY}/b{PROXY}/c", f"mlflow-artifacts://h/b{PROXY}/c", "h"),
        (f"https://host{PROXY}", "mlflow-artifacts://host", "host"),
        (f"ftp://host{PROXY}/1", f"ftp://host{PROXY}/1", ""),
        ("https://host/1/x/", "https://host/1/x", ""),
        ("mlflow-artifacts://h//1/x/", "mlflow-artifacts://h/1/x", "h"),
        ("mlflow-artifacts:/X/1/X", "mlflow-artifacts:/X/1/X", ""),
        ("file:///X/a/X", "/X/a/X", ""),
        ("s3://b/X/", "s3://b/X", ""),
        ("file://other/a", "file://other/a", ""),
    ],
)
def test_one_spelling_of_a_place_and_the_server_that_it_names(place: str, one: str, host: str) -> None:
    """However a place is spelled, it is the same: in the source's store, or on the server whose clients look there."""
    assert (canonical(place), host_of(place)) == (one, host)


def test_a_host_needs_a_server() -> None:
    """An ARN, a database or a folder is none, whatever it is called."""
    assert not is_host("localhost", "sqlite://localhost/x")
    assert not is_host("localhost", "http:///x")
    assert is_host("example.invalid", "http://example.invalid/x")
    assert not is_host("", "http://example.invalid")


def test_roots_are_told_by_places_that_end_with_their_experiments_number() -> None:
    """That of the newest experiment comes last, by number and not by spelling; names come after numbers."""

    def place(number: str, where: str) -> Any:
        return an_experiment(experiment_id=number, artifact_location=where)

    found = roots_of([place("b", "s3://n/b"), place("10", "s3://b/10/"), place("9", "s3://a/9"), place("2", "s3://b/2"),
                      place("3", "s3://c/x"), place("4", "/4"), place("5", "5"), place("6", "s3://X/X/6"), place("7",
                       "s3://q/7X")])  # fmt: skip
    assert found == ["s3://X/X", "s3://a", "s3://b", "s3://n"]
    assert roots_of([place("1", "//1")]) == []
    assert roots_of([place("1", "X/1")]) == ["X"]


def test_what_both_sides_share_is_no_store_of_the_source() -> None:
    """The same experiment, made at the same time, in the same place; relative places and none are no stores."""
    one = an_experiment(artifact_location="s3://a/1")
    own = an_experiment(experiment_id="2", name="f", artifact_location="s3://b/2")
    assert stores_of([one, own], [one]) == {"s3://b", "s3://b/2"}
    for other in (
        {"experiment_id": "7"}, {"name": "g"}, {"creation_time": 6}, {"artifact_location": "s3://z/1"},
    ):  # fmt: skip
        assert stores_of([one], [dataclasses.replace(one, **other)]) == {"s3://a", "s3://a/1"}
    untimed = dataclasses.replace(one, creation_time=None)
    assert stores_of([untimed], [untimed]) == {"s3://a", "s3://a/1"}
    assert (
        stores_of([dataclasses.replace(one, artifact_location=where) for where in ("", "mlflow-artifacts:/1")], [])
        == set()
    )
    assert is_below("s3://a/1/x", {"s3://a/1"})
    assert is_below("/x", {""})
    assert not is_below("x", {"x"})


TARGET, SOURCE = "http://target.invalid:2", "http://source.invalid:1"
IN_SOURCE = "the copy's files are in the source's place: they go when the source goes"


def test_which_server_a_place_may_name() -> None:
    """None, or the target by that address: on another one MLflow's clients look in vain."""
    places = CopyPlaces(source=SOURCE, target=TARGET)
    assert places.another_server("mlflow-artifacts://target.invalid:2/1") == ""
    assert places.another_server("mlflow-artifacts:/1") == places.another_server("s3://b/1") == ""
    assert places.another_server("mlflow-artifacts://source.invalid:1/1") == (
        "it names the source's server source.invalid:1: the files go when the source goes"
    )
    other = "mlflow-artifacts://other.invalid/1"
    said = (
        f"it names the server other.invalid, which is not {TARGET}: MLflow's clients look for the files there; if it "
        "is the target, pass the target by that address"
    )
    assert places.another_server(other) == said
    assert CopyPlaces(target=TARGET).another_server(other) == said
    assert CopyPlaces(source=SOURCE).another_server("mlflow-artifacts://source.invalid:1/1") == ""


def test_places_of_objects_outside_of_the_sources_store_are_its_too() -> None:
    """A logged model that was kept elsewhere: the copy in its place is gone with it, and its own place is no fault."""
    places = CopyPlaces(frozenset({"s3://old"}))
    places.learn([None, "", "mlflow-artifacts:/1", "models:/m", "runs:/r", "s3://old/x", "s3://own/m/"])
    ids = ("a", "b")
    assert places.wrong("logged_model", ids, "s3://x", "s3://own/m/sub") == IN_SOURCE
    assert places.wrong("logged_model", ids, None, "s3://own/m") == IN_SOURCE
    assert places.wrong("logged_model", ids, "s3://own/m", "s3://own/m") == ""
    assert places.wrong("logged_model", ids, "s3://x", "s3://own/mm") == ""
    assert places.wrong("logged_model", ids, "s3://x", None) == ""
    assert places._others == {"s3://own/m"}
    again = places.apart()
    assert again.wrong("logged_model", ids, "s3://x", "s3://own/m/sub") == IN_SOURCE
    assert again.wrong("logged_model", ids, "s3://x", "s3://old/y") == IN_SOURCE
    known = CopyPlaces(frozenset({"s3://old"}), SOURCE, TARGET).apart()
    assert (known.stores, known.source, known.target) == (frozenset({"s3://old"}), SOURCE, TARGET)


def test_one_place_for_source_and_copy() -> None:
    """The object itself may stay where it is; a copy, or anything in the source's own store, may not."""
    places = CopyPlaces(frozenset({"s3://old"}))
    assert places.kept("s3://third/x", itself=True) == ""
    assert places.kept("s3://third/x", itself=False) == IN_SOURCE
    assert places.kept("s3://old/x", itself=True) == IN_SOURCE


def test_a_place_that_two_copies_have_is_told_once_per_kind() -> None:
    """By the ids of both; of another kind, or of a source that shares it as well, it is no fault."""
    places = CopyPlaces()
    assert places.wrong("model_version", ("m/1", "m/1"), "s3://a", "s3://z/") == ""
    assert places.wrong("model_version", ("m/2", "m/2"), "s3://b", "s3://z") == (
        "it is also the place of model version m/1, the copy of m/1"
    )
    assert places.wrong("model_version", ("m/3", "m/3"), "s3://a/", "s3://z") == ""
    assert places.wrong("experiment", ("9", "9"), "s3://b", "s3://z") == ""
    assert places.wrong("experiment", ("8", "8"), None, "s3://z") == (
        "it is also the place of experiment 9, the copy of 9"
    )
    model = f"m-{'a' * 32}"
    assert places.wrong("logged_model", ("x", "y"), None, f"s3://q/{model}/artifacts") == (
        f"it is the place of logged model {model}"
    )
    assert places.wrong("logged_model", ("x", model), None, f"s3://q/{model}/artifacts") == ""
    assert copy_places._said("trace") == "trace"
