"""Waivers for objects beside experiments and runs: accepted, expired, unmatched, told apart by id, drafted, merged."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from support.memory import Audited, Store, run_audit

from mlflow_parity.audit.waivers.waivers import load_waivers
from mlflow_parity.core.local.files import file_sha256
from mlflow_parity.core.records import Entity, Experiment, Run
from mlflow_parity.core.verdict import State
from mlflow_parity.reporting.kept.waiver_drafts import write_draft
from mlflow_parity.reporting.ledger import LedgerWriter

TIMES = {"creation": 5, "update": 6}
Alter = Callable[[Store], None]


def trace(number: int, name: str) -> Entity:
    """A trace; those of one name differ in their time and id."""
    facets: dict[str, Any] = {"state": "OK", "times": {"request": number, "duration": 1}, "client_request_id": None,
              "previews": {"request": "q", "response": "a"}, "metadata": {}, "run": None, "run_links": [],
             "logged_model": None,
              "prompts": None, "tags": {}, "spans": [], "assessments": []}  # fmt: skip
    return Entity("trace", f"tr-{number}", name, "1", number, facets)


def version(number: int) -> Entity:
    """A model version."""
    facets = {"number": number, "status": {"status": "READY"}, "description": "d", "tags": {}, "user": "", "run": None,
              "stage": "None", "logged_model": None, "source": "mlflow-artifacts:/x", "times": TIMES}  # fmt: skip
    return Entity("model_version", f"churn/{number}", f"churn version {number}", "churn", 5, facets)


def server() -> Store:
    """An experiment with a run and traces, a registered model, a prompt, a dataset and a webhook."""
    run = Run("1" * 32, "1", "r", "FINISHED", 1, 2, "ada", "active", "mlflow-artifacts:/1/r", {}, {}, {}, ())
    registered = {"description": "d", "tags": {"team": "x"}, "aliases": {}, "times": TIMES}
    prompt = {"number": 1, "template": "hi", "commit_message": "", "tags": {}, "model_config": None,
              "response_format": None, "type": "text", "times": TIMES}  # fmt: skip
    records = [{"inputs": {"q": number}, "outputs": None, "expectations": {}, "tags": {}} for number in range(3)]
    dataset = {"tags": {}, "schema": "", "profile": "", "digest": "x", "user": "", "experiments": ["1"],
               "records": records, "times": TIMES}  # fmt: skip
    hook = {"description": "", "url": "https://a", "events": ["x"], "status": "ACTIVE"}
    return Store(
        [Experiment("1", "shop [1]/α", "active", "mlflow-artifacts:/1", 5, 6, {})],
        [run],
        objects=[
            trace(1, "ask"),
            trace(2, "ask"),
            *(trace(10 + number, f"step {number} (of [4])") for number in range(1, 5)),
            Entity("registered_model", "churn", "churn", "", 5, registered),
            version(1),
            version(2),
            Entity("prompt", "greet", "greet", "", 5, registered),
            Entity("prompt_version", "greet/1", "greet version 1", "greet", 5, prompt),
            Entity("evaluation_dataset", "d-1", "questions", "", 5, dataset),
            Entity("webhook", "w-1", "hook", "", 5, hook),
            Entity("webhook", "w-2", "hook", "", 5, {**hook, "url": "https://b"}),
        ],
    )


def facet(entity_id: str, **facets: Any) -> Alter:
    """Change facets of an object."""

    def change(store: Store) -> None:
        place = next(n for n, item in enumerate(store.objects) if item.entity_id == entity_id)
        store.objects[place] = replace(store.objects[place], facets={**store.objects[place].facets, **facets})

    return change


def gone(entity_id: str) -> Alter:
    """Remove an object."""

    def change(store: Store) -> None:
        store.objects = [item for item in store.objects if item.entity_id != entity_id]

    return change


def record(value: int) -> Alter:
    """Change the last record of the dataset."""
    records = [{"inputs": {"q": number}, "outputs": None, "expectations": {}, "tags": {}} for number in (0, 1, value)]
    return facet("d-1", records=records)


def audited(folder: Path, *alter: Alter, waivers: str | None = None, source: Store | None = None) -> Audited:
    """Audit a server and its copy, which is altered."""
    original = source or server()
    target = copy.deepcopy(original)
    for change in alter:
        change(target)
    if waivers is None:
        return run_audit(original, target)
    file = folder / "waivers.toml"
    file.write_text(waivers, encoding="utf-8")
    return run_audit(original, target, waivers=file)


def entry(thing: str, name: str, more: str = "", expires: str = "2099-01-01") -> str:
    """One entry of a file."""
    lines = ["[[waiver]]", f"object = {thing}", f'facet = "{name}"', 'reason = "agreed"', 'owner = "Ada"', more]
    return "\n".join([*lines, f"expires = {expires}", ""])


#: What differs → the change, the object that a waiver names, its facet, further lines, and one that fits nothing.
CASES: dict[str, tuple[Alter, str, str, str, str]] = {
    "trace": (facet("tr-1", state="ERROR"), '["shop*", "trace", "ask"]', "state", "", '["shop*", "trace", "asks"]'),
    "one of two traces": (
        facet("tr-1", state="ERROR"), '["shop*", "trace", "ask", "tr-1"]', "state", 'state = "mismatch"',
        '["shop*", "trace", "ask", "tr-2"]'),
    "model version": (
        facet("churn/2", description="x"), '["registered model churn", "model_version", "churn version 2"]',
        "description", "", '["registered model churn", "model_version", "churn version 1"]'),
    "prompt": (
        facet("greet", tags={"team": "y"}), '["prompt gre*", "prompt", "*"]', "tags", 'key = "team"',
        '["prompt greet", "prompt", "hello"]'),
    "prompt version": (
        facet("greet/1", template="hi "), '["prompt greet", "prompt_version", "greet version [1]"]', "template", "",
        '["prompt greet", "prompt", "greet version 1"]'),
    "dataset record": (
        record(7), '["(server)", "evaluation_dataset", "quest*"]', "records", 'key = "record"',
        '["(server)", "evaluation_dataset", "questions", "d-2"]'),
    "missing webhook": (
        gone("w-2"), '["(server)", "webhook", "hook", "w-2"]', "presence", 'state = "missing"',
        '["(server)", "webhook", "hook", "w-1"]'),
    "extra trace": (
        lambda store: store.objects.append(trace(9, "ask")), '["shop*", "trace", "ask", "tr-9"]', "presence",
        'state = "extra"', '["shop*", "trace", "ask", "tr-1"]'),
}  # fmt: skip
KINDS_FACET = {"prompt version": "template"}


@pytest.mark.parametrize("case", CASES)
def test_a_waiver_of_another_kind(tmp_path: Path, case: str) -> None:
    """Red without it, green with it: the row says waived, with reason and owner."""
    change, thing, name, more, _ = CASES[case]
    assert not audited(tmp_path, change).result.green
    done = audited(tmp_path, change, waivers=entry(thing, name, more))
    assert done.result.green, done.found
    rows = [row for row in done.rows if row.state is State.WAIVED]
    assert any(row.facet == name for row in rows)
    assert all("agreed" in row.note and "Ada" in row.note for row in rows)
    assert [used.status for used in done.result.waivers] == ["used"]


@pytest.mark.parametrize("case", CASES)
def test_expired_or_unmatched_it_is_red_and_named(tmp_path: Path, case: str) -> None:
    """With and without the difference; and what it would have covered is red as ever."""
    change, thing, name, more, other = CASES[case]
    if case in KINDS_FACET:
        # a facet that the other kind has not is refused when the file is read
        other = thing.replace("[1]", "[3]")
    for text, status in ((entry(thing, name, more, "2026-01-01"), "expired"), (entry(other, name, more), "unused")):
        for changes in ((change,), ()):
            done = audited(tmp_path, *changes, waivers=text)
            assert not done.result.green
            [used] = done.result.waivers
            assert (used.status, used.covered) == (status, 0)
            assert str(used.waiver) in used.problem
            assert bool(done.found) == bool(changes)


def test_two_of_one_name(tmp_path: Path) -> None:
    """By name both are covered, by id one of them; the report's path of the waiver shows the id."""
    both = (facet("tr-1", state="ERROR"), facet("tr-2", state="ERROR"))
    assert audited(tmp_path, *both, waivers=entry('["shop*", "trace", "ask"]', "state")).result.green
    done = audited(tmp_path, *both, waivers=entry('["shop*", "trace", "ask", "tr-2"]', "state"))
    assert not done.result.green
    red = [row.source_id for row in done.rows if not row.state.green]
    assert red == ["tr-1"]
    [used] = done.result.waivers
    assert (used.status, used.covered) == ("used", 1)
    assert used.to_text()["object"] == "shop* / trace / ask / tr-2"


def drafted(folder: Path, done: Audited, *, ledger: bool = True) -> str:
    """Write report and ledger, draft from them, and fill in reason and owner."""
    if ledger:
        with LedgerWriter(folder / "ledger.parquet") as writer:
            writer.extend(done.rows)
    content = {
        "format_version": "1",
        "ledger_digest": file_sha256(folder / "ledger.parquet") if ledger else "",
        "created": "2026-11-23T00:00:00Z",
        "verdict": "red",
        "coverage": [],
        "scope": {"depth": "digest", "profile": "export-import", "include_deleted": False},
        "sides": {"source": {"location": "http://a"}, "target": {"location": "http://b"}},
        "findings": [{**asdict(finding), "bound": list(finding.bound)} for finding in done.result.findings],
        "findings_total": done.result.findings_total,
    }
    (folder / "report.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "draft.toml").unlink(missing_ok=True)
    count = write_draft(str(folder / "report.json"), str(folder / "draft.toml"))
    text = (folder / "draft.toml").read_text(encoding="utf-8")
    assert text.count("[[waiver]]") == count
    return text.replace('reason = ""', 'reason = "agreed"').replace('owner = ""', 'owner = "Ada"')


def things(text: str) -> list[list[str]]:
    """The object of each entry."""
    return [json.loads(line.partition("=")[2]) for line in text.splitlines() if line.startswith("object = ")]


@pytest.mark.parametrize("ledger", [True, False])
def test_a_draft_turns_everything_green(tmp_path: Path, ledger: bool) -> None:
    """Of every kind at once: filled in as it is, the draft covers each finding, and each of its entries is used."""
    changes = [change for change, *_ in CASES.values()]
    done = audited(tmp_path, *changes)
    text = drafted(tmp_path, done, ledger=ledger)
    again = audited(tmp_path, *changes, waivers=text)
    assert again.result.green, again.found
    assert {used.status for used in again.result.waivers} == {"used"}
    named = things(text)
    assert ["shop [[]1]/α", "trace", "ask", "tr-1"] in named
    assert ["(server)", "webhook", "hook", "w-2"] in named
    # where no other one has the name, the id is not needed; without the ledger nobody knows
    dataset = ["(server)", "evaluation_dataset", "questions"]
    assert (dataset in named) is ledger
    assert ([*dataset, "d-1"] in named) is not ledger
    # and it covers nothing but these
    assert not audited(tmp_path, *changes, facet("tr-2", state="ERROR"), waivers=text).result.green


STEPS = [facet(f"tr-{10 + number}", state="ERROR") for number in range(1, 5)]


def test_the_same_difference_on_many_is_one_entry(tmp_path: Path) -> None:
    """All traces ``step …``, and no other, differ in the same way: one entry with a glob, named in a comment."""
    done = audited(tmp_path, *STEPS)
    text = drafted(tmp_path, done)
    assert things(text) == [["shop [[]1]/α", "trace", "step * (of [[]4])"]]
    assert '# 4 objects: "step 1 (of [4])"' in text
    again = audited(tmp_path, *STEPS, waivers=text)
    assert again.result.green
    assert [used.covered for used in again.result.waivers] == [4]
    assert not audited(tmp_path, *STEPS, facet("tr-1", state="ERROR"), waivers=text).result.green


def test_another_value_of_one_of_many_is_red(tmp_path: Path) -> None:
    """An entry for many holds for their values alone: one pair where they are equal, else each with its object's id."""
    text = drafted(tmp_path, audited(tmp_path, *STEPS))
    assert text.count('values = [["OK", "ERROR"]]  #') == 1
    assert "it covers what comes later" in text
    other = facet("tr-12", state="IN_PROGRESS")
    assert not audited(tmp_path, *STEPS, other, waivers=text).result.green

    named = [facet(f"tr-{10 + number}", client_request_id=f"r-{number}") for number in range(1, 5)]
    text = drafted(tmp_path, audited(tmp_path, *named))
    assert len(things(text)) == 1
    assert "it covers what comes later" not in text
    assert [line.strip() for line in text.splitlines() if line.startswith("    ")] == [
        f'[false, "r-{number}", "tr-{10 + number}"],' for number in range(1, 5)
    ]
    assert audited(tmp_path, *named, waivers=text).result.green
    # the value of another one is another value
    done = audited(tmp_path, *named, facet("tr-12", client_request_id="r-1"), waivers=text)
    assert [row.source_id for row in done.rows if not row.state.green] == ["tr-12"]


def test_a_glob_that_fits_another_object_is_not_drafted(tmp_path: Path) -> None:
    """One of them is in order, or differs in another way: then each has an entry of its own."""
    for changes in (STEPS[:3], [*STEPS[:3], facet("tr-14", previews={"request": "", "response": "a"})]):
        text = drafted(tmp_path, audited(tmp_path, *changes))
        assert len(things(text)) == len(changes)
        assert not any("*" in part for thing in things(text) for part in thing)
        assert audited(tmp_path, *changes, waivers=text).result.green
    # without the ledger nobody knows what else there is
    (tmp_path / "ledger.parquet").unlink()
    assert len(things(drafted(tmp_path, audited(tmp_path, *STEPS), ledger=False))) == 4


def test_a_name_that_many_share_needs_no_id(tmp_path: Path) -> None:
    """Every object of the name differs alike: the name alone says it."""
    source = server()
    source.objects.append(trace(3, "ask"))
    changes = [facet(f"tr-{number}", state="ERROR") for number in (1, 2, 3)]
    text = drafted(tmp_path, audited(tmp_path, *changes, source=source))
    assert things(text) == [["shop [[]1]/α", "trace", "ask"]]
    assert audited(tmp_path, *changes, waivers=text, source=source).result.green


def test_the_ledger_of_another_audit_is_not_believed(tmp_path: Path) -> None:
    """It does not hold what the report names: each entry has its id then."""
    drafted(tmp_path, audited(tmp_path, facet("churn/2", description="x")))
    report = audited(tmp_path, *STEPS)
    text = drafted(tmp_path, replace(report, rows=[row for row in report.rows if row.source_id != "tr-11"]))
    assert [len(thing) for thing in things(text)] == [4, 4, 4, 4]


def test_the_id_is_a_glob_too(tmp_path: Path) -> None:
    """In four texts the last is the id; it is refused where it is no text."""
    file = tmp_path / "waivers.toml"
    file.write_text(entry('["a", "trace", "b", "tr-*"]', "state"))
    [waiver] = load_waivers(str(file)).waivers
    assert (waiver.entity_id, waiver.path) == ("tr-*", ("a", "trace", "b", "tr-*"))
    assert re.fullmatch(r"a / trace / b / tr-\* / state", str(waiver))
