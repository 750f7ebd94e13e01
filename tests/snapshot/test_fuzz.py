"""Damaged and made-up inputs: never believed where they are sealed, and never a traceback; more with ``make fuzz``."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.audits import audit
from support.contract_case import source as sample
from support.contract_case import target as other
from support.drafted import finding, report
from support.memory import run_audit
from support.stores import restored

from mlflow_parity.audit.renames import load_renames
from mlflow_parity.audit.side import Side
from mlflow_parity.audit.waivers.waivers import load_waivers
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.local import input_files
from mlflow_parity.core.local.files import sealed, write_json
from mlflow_parity.core.locations import Location
from mlflow_parity.migrating.journal import Journal
from mlflow_parity.migrating.workdir import noted
from mlflow_parity.reporting.kept.earlier import missing_options
from mlflow_parity.reporting.kept.evidence import evidence_of
from mlflow_parity.reporting.kept.waiver_drafts import draft, read_report

EXAMPLES = int(os.environ.get("MLFLOW_PARITY_EXAMPLES", "40"))
FUZZ = settings(
    deadline=None, max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), derandomize=EXAMPLES == 40
)
#: Any JSON, and what is no text in any encoding.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8")) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=6,
)


@contextmanager
def told() -> Iterator[None]:
    """Let bad input be told in one line, and nothing else."""
    said = ""
    try:
        yield
    except UsageProblem as error:
        said = str(error)
    assert "\n" not in said


def damaged(content: bytes, data: st.DataObject) -> bytes:
    """Return the bytes with one flipped, cut, doubled, or two pieces swapped."""
    at = data.draw(st.integers(0, max(len(content) - 1, 0)), label="at")
    size = data.draw(st.integers(1, 64), label="size")
    kind = data.draw(st.sampled_from(["flip", "cut", "drop", "double", "swap", "zero"]), label="kind")
    if kind == "flip":
        return content[:at] + bytes([content[at] ^ (1 << data.draw(st.integers(0, 7)))]) + content[at + 1 :]
    piece = content[at : at + size]
    return {
        "cut": content[:at],
        "drop": content[:at] + content[at + size :],
        "double": content[:at] + piece + content[at:],
        "swap": piece + content[size:at] + content[:size] + content[at + size :],
        "zero": content[:at] + bytes(len(piece)) + content[at + size :],
    }[kind]


def changed(value: Any, data: st.DataObject) -> Any:
    """Return JSON with one value of it taken away or exchanged."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 9)):
        key = data.draw(st.sampled_from(sorted(value)))
        rest = {name: one for name, one in value.items() if name != key}
        return rest if not data.draw(st.integers(0, 4)) else {**rest, key: changed(value[key], data)}
    if isinstance(value, list) and value and data.draw(st.integers(0, 9)):
        at = data.draw(st.integers(0, len(value) - 1))
        return [*value[:at], changed(value[at], data), *value[at + 1 :]]
    return data.draw(JSON)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished snapshot."""
    folder = tmp_path_factory.mktemp("snapshot")
    run_audit(sample(), restored(sample()), snapshots=folder)
    return folder / "source"


def _use(root: Path) -> None:
    """Read all that an audit reads."""
    side = Side("source", Location("snapshot", str(root)), None)
    for experiment in side.experiments():
        view, objects = side.snapshot.view(experiment), side.snapshot.objects(experiment.experiment_id)
        if view.problem("runs") is None:
            list(view.all_runs())
            view.run_keys()
        view.counts(), objects.counts(), view.depth, view.links_problem(), objects.every_unsupported()
        view.problem("metrics"), objects.problem("traces")
    _ = side.snapshot.digest, side.snapshot.created, side.snapshot.finished


@FUZZ
@given(data=st.data())
def test_a_damaged_snapshot_is_refused(snapshot: Path, data: st.DataObject) -> None:
    """One byte flipped, a piece cut, doubled or swapped, or a file in the place of another: refused, every time."""
    files = sorted(path for path in snapshot.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    before = path.read_bytes()
    foreign = data.draw(st.sampled_from(files)).read_bytes()
    after = foreign if not data.draw(st.integers(0, 5)) else damaged(before, data)
    path.write_bytes(after)
    try:
        if after == before:
            _use(snapshot)
            return
        with pytest.raises(UsageProblem) as caught:
            _use(snapshot)
        assert "\n" not in str(caught.value)
    finally:
        path.write_bytes(before)


@FUZZ
@given(data=st.data())
def test_a_made_up_snapshot_is_no_traceback(snapshot: Path, data: st.DataObject) -> None:
    """Sealed as whoever makes one can: used, or refused in one line."""
    name = data.draw(st.sampled_from(["manifest.json", "experiments/1/runs.json", "experiments/1/metrics.json"]))
    kept = {path: path.read_bytes() for path in (snapshot / "manifest.json", snapshot / name)}
    content = changed(json.loads(kept[snapshot / name]), data)
    try:
        if isinstance(content, dict):
            try:
                write_json(snapshot / name, sealed(content))
            except ValueError:
                return
            if name != "manifest.json":
                manifest = json.loads(kept[snapshot / "manifest.json"])
                manifest["parts"]["1"][Path(name).stem] = sealed(content)
                write_json(snapshot / "manifest.json", sealed(manifest))
        else:
            (snapshot / name).write_text(json.dumps(content))
        with told():
            _use(snapshot)
    finally:
        for path, before in kept.items():
            path.write_bytes(before)


WAIVERS = b"""[[waiver]]
object = ["main", "run", "*"]
facet = "params"
key = "lr"
state = "mismatch"
values = [["0.1", "0.2"], [1, false, "id"]]
reason = "known"
owner = "me"
expires = 2999-01-31

[[waiver]]
object = ["*", "run", "a", "id"]
facet = "presence"
reason = "known"
owner = "me"
expires = 2999-01-31
"""
RENAMES = b'[experiments]\n"old" = "new"\n[models]\n"a" = "b"\n[prompts]\n"p" = "q"\n'


@FUZZ
@given(data=st.data())
def test_toml_that_a_user_gives(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Waivers and names, damaged or made up."""
    path = tmp_path_factory.getbasetemp() / "given.toml"
    waivers: tuple[bytes, Callable[[str], object]] = (WAIVERS, load_waivers)
    content, read = data.draw(st.sampled_from([waivers, (RENAMES, load_renames)]))
    made = data.draw(st.binary(max_size=200)) if not data.draw(st.integers(0, 5)) else damaged(content, data)
    path.write_bytes(made)
    with told():
        read(str(path))


@FUZZ
@given(data=st.data())
def test_json_that_a_user_gives(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Reports and notes: a value of another type anywhere, a byte anywhere."""
    path = tmp_path_factory.getbasetemp() / "mlflow-parity-migration.json"
    whole = report(finding("a", "lr"), finding("b", "", "missing", "presence"))
    note = {"exported": True, "batches": ["1"], "target": "t", "backup": False, "scope": ""}
    one: Any = data.draw(st.sampled_from([whole, note]))
    made = json.dumps(changed(one, data)).encode()
    if not data.draw(st.integers(0, 3)):
        made = damaged(json.dumps(one).encode(), data)
    path.write_bytes(made)
    with told():
        found = read_report(str(path), "--from")
        draft(found)
    with told():
        evidence_of(read_report(str(path), "--from"), str(path))
    with told():
        missing_options(read_report(str(path), "--from"), "digest", "export-import", include_deleted=False)
    with told():
        progressed = noted(path.parent)
        assert [type(value) for value in asdict(progressed).values()] == [bool, list, str, bool, str]
        assert {type(one) for one in progressed.batches} <= {str}


@FUZZ
@given(content=st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(content: bytes) -> None:
    """The parsers raise nothing else."""
    for parse in (input_files.parsed_json, input_files.parsed_toml):
        said = ""
        try:
            parse(content)
        except input_files.Unusable as why:
            said = str(why)
        assert "\n" not in said


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of some pages."""
    path = tmp_path_factory.mktemp("journal") / "journal.sqlite"
    made = Journal(path)
    made.bind(source="s", target="t")
    for number in range(300):
        made.begin("run", f"{number:032x}", place="1", name="n" * 40)
        made.created("run", f"{number:032x}", f"{number:032x}")
        made.done("run", f"{number:032x}", "d")
    made.close()
    return path


@FUZZ
@given(data=st.data())
def test_a_damaged_journal(journal: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Refused in one line, or all of it can be read: the audit behind a migration does not rest on it."""
    path = tmp_path_factory.getbasetemp() / "journal.sqlite"
    for left in path.parent.glob("journal.sqlite*"):
        left.unlink(missing_ok=True)
    path.write_bytes(damaged(journal.read_bytes(), data))
    with told():
        opened = Journal(path)
        try:
            opened.bind(source="s", target="t")
            for entry in opened.entries():
                opened.entry(entry.kind, entry.source_id)
            opened.counts(), opened.ids("run"), opened.of_target("run", "x"), opened.in_doubt("run", "x")
            opened.begin("run", "new")
        finally:
            opened.close()


@pytest.mark.long
def test_a_damaged_snapshot_ends_an_audit(snapshot: Path, tmp_path: Path) -> None:
    """As its users see it: exit status 4 and a line."""
    run_audit(other(), restored(other()), snapshots=tmp_path / "target")
    shutil.copytree(snapshot, tmp_path / "source")
    file = tmp_path / "source" / "experiments" / "1" / "runs.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    done = audit(tmp_path, str(tmp_path / "source"), str(tmp_path / "target" / "source"))
    assert done.status == 4, done.output
    assert "runs.parquet of experiment 1 is damaged or truncated" in done.output
    assert "Traceback" not in done.output
