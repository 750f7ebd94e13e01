"""Versions that are on the target before, or that a kill left there: ours go on, those of others stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.exported import export
from support.importer import Whole
from support.proxy import Fault, proxying, status
from support.seed import Seeder, pairs
from support.servers import FreshServer

from mlflow_parity.migrating.journal import Journal
from mlflow_parity.migrating.repair.further_copies import further_copies
from mlflow_parity.standin.servers import Server

THEIRS = "s3://theirs/model"
_PROMPT = {"mlflow.prompt.is_prompt": "true"}
_FIELD = "mlflow_exim.field."


class Ends:
    """A source and a target, and the folder of their migration."""

    def __init__(self, source: Server, target: Server, folder: Path) -> None:
        self.source, self.target, self.folder = source, target, folder
        self.seed, self.there = Seeder(source.uri), Seeder(target.uri)
        self.run = self.seed.run(self.seed.experiment("train"), "trainer")
        self.seed.end(self.run)

    def versions(self, name: str, *kept: int) -> None:
        """Make a registered model with these versions, those between them deleted."""
        place = self.seed.call("GET", "runs/get", {"run_id": self.run})["run"]["info"]["artifact_uri"]
        self.seed.call("POST", "registered-models/create", {"name": name})
        for number in range(1, max(kept) + 1):
            body = {"name": name, "source": place, "run_id": self.run, "description": f"text {number}"}
            self.seed.call("POST", "model-versions/create", body)
            if number not in kept:
                self.seed.call("DELETE", "model-versions/delete", {"name": name, "version": str(number)})

    def bring(self, uri: str = "") -> Whole:
        """Import everything, by another address if one is given, and return the closed import."""
        folder = export(self.source, self.folder)
        importing = Whole(folder, uri or self.target.uri, self.folder / "journal.sqlite")
        try:
            importing.run()
            self.further = list(further_copies(importing.context))
            self.copies = {
                kind: {entry.source_id: (entry.target_id, entry.origin) for entry in entries}
                for kind in ("model_version", "prompt_version")
                if (entries := list(importing.context.journal.entries(kind=kind)))
            }
        finally:
            importing.close()
        return importing

    def migrated(self, name: str, number: int, **told: str) -> None:
        """Put a version on the target as a migration from elsewhere leaves it."""
        tags = pairs({_FIELD + key: value for key, value in {"name": name, "version": str(number), **told}.items()})
        body = {"name": name, "source": THEIRS, "description": "theirs", "tags": tags}
        self.there.call("POST", "model-versions/create", body)

    def found(self, name: str, more: str = "") -> dict[int, Any]:
        """Return the versions of a registered model or prompt of the target by their numbers."""
        listed = self.there.call("GET", "model-versions/search", {"filter": f"name='{name}'{more}"})
        return {int(one["version"]): one for one in listed.get("model_versions", [])}


@pytest.fixture
def ends(fresh_server: FreshServer, tmp_path: Path) -> Ends:
    """A source with a run, and an empty target."""
    return Ends(fresh_server(), fresh_server(), tmp_path)


def test_versions_that_another_tool_brought_stay(ends: Ends) -> None:
    """It numbers them from 1: those are no numbers that only a kill left."""
    ends.versions("m", 5, 7)
    ends.there.call("POST", "registered-models/create", {"name": "m"})
    for number in (5, 7):
        version = ends.seed.call("GET", "model-versions/get", {"name": "m", "version": str(number)})["model_version"]
        ends.migrated("m", number, run_id=ends.run, creation_timestamp=str(version["creation_timestamp"]))
    assert ends.bring().left == {}
    assert {number: one["source"] for number, one in ends.found("m").items()} == {
        1: "s3://theirs/model",
        2: "s3://theirs/model",
    }
    assert {source: copy for source, (copy, _) in ends.copies["model_version"].items()} == {"m/5": "m/1", "m/7": "m/2"}


@pytest.mark.parametrize("adopted", [True, False])
def test_numbers_that_were_only_taken_up_go(adopted: bool, ends: Ends) -> None:
    """The first copy could not be deleted again, and is left with a number that the source does not have."""
    ends.versions("m", 3)
    if adopted:
        ends.there.call("POST", "registered-models/create", {"name": "m"})
    with proxying(ends.target.uri) as line:
        line.faults.append(Fault("model-versions/delete", status(403), early=True))
        left = {entry.source_id: entry.reason or "" for entry in ends.bring(line.uri).entries}
    assert "403" in left["m/3"]
    assert set(ends.found("m")) == {1}
    assert ends.bring().left == {}
    assert set(ends.found("m")) == {3}
    assert ends.copies["model_version"] == {"m/3": ("m/3", "made")}


@pytest.mark.parametrize("told", [{"creation_timestamp": "111"}, {"run_id": "a" * 32}])
def test_a_version_of_another_server_is_no_copy(told: dict[str, str], ends: Ends) -> None:
    """Two servers have a model of one name: the second one's version is made beside that of the first, which stays."""
    ends.versions("fraud", 1)
    ends.there.call("POST", "registered-models/create", {"name": "fraud"})
    ends.migrated("fraud", 1, **told)
    before = ends.found("fraud")[1]
    importing = ends.bring()
    assert importing.left == {}
    assert (ends.found("fraud")[1], ends.found("fraud")[2]["description"]) == (before, "text 1")
    assert ends.copies["model_version"] == {"fraud/1": ("fraud/2", "made")}
    assert ends.further == []


def test_a_copy_that_was_found_is_not_ours(ends: Ends) -> None:
    """It names our version, and may have been brought by somebody else: nothing of it is taken away."""
    ends.versions("m", 1)
    ends.there.call("POST", "registered-models/create", {"name": "m"})
    ends.migrated("m", 1, run_id=ends.run)
    ends.there.call("POST", "model-versions/set-tag", {"name": "m", "version": "1", "key": "owner", "value": "ops"})
    for _ in range(2):
        ends.bring()
        assert ends.copies["model_version"] == {"m/1": ("m/1", "adopted")}
        assert {"key": "owner", "value": "ops"} in ends.found("m")[1]["tags"]
        ends.seed.call("PATCH", "model-versions/update", {"name": "m", "version": "1", "description": "changed"})


class _Killed(BaseException):
    pass


def test_a_prompt_version_is_made_once(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed when it was made and not noted: it has no source tags, and not the number that it is looked for by."""

    def prompt(seed: Seeder, name: str, *texts: str) -> None:
        seed.call("POST", "registered-models/create", {"name": name, "tags": pairs(_PROMPT)})
        for text in texts:
            tags = pairs({**_PROMPT, "mlflow.prompt.text": text})
            seed.call("POST", "model-versions/create", {"name": name, "source": "dummy-source", "tags": tags})

    prompt(ends.seed, "greet", "ours", "ours")
    prompt(ends.there, "greet", "theirs", "theirs")
    note = Journal.note

    def deadly(journal: Journal, what: str, kind: str, *about: Any, **more: Any) -> None:
        if (what, kind) == ("created", "prompt_version"):
            raise _Killed
        note(journal, what, kind, *about, **more)

    # the second time, the first version is noted
    for _ in range(2):
        with monkeypatch.context() as patched:
            patched.setattr(Journal, "note", deadly)
            with pytest.raises(_Killed):
                ends.bring()
    ends.bring()
    found = ends.found("greet", " AND tags.`mlflow.prompt.is_prompt` = 'true'")
    texts = {number: {tag["key"]: tag["value"] for tag in one["tags"]} for number, one in found.items()}
    assert {number: tags["mlflow.prompt.text"] for number, tags in texts.items()} == {
        1: "theirs", 2: "theirs", 3: "ours", 4: "ours",
    }  # fmt: skip
    assert ends.copies["prompt_version"] == {"greet/1": ("greet/3", "made"), "greet/2": ("greet/4", "made")}
