"""Whether what is on the target can be used: files that can be had, MLmodel that parses, aliases, models that load."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.audits import AuditRun, audit
from support.loadable import SEED_MODELS
from support.proxy import Fault, Spoil, proxying, status
from support.seed import Seeder
from support.servers import FreshServer

from mlflow_parity.cli import main
from mlflow_parity.comparing.registry_fields import compare_resolved
from mlflow_parity.core.records import Entity, Resolved
from mlflow_parity.core.verdict import State
from mlflow_parity.standin.servers import Server, clean_environment

#: The copy is one of the store.
TWO = "--parity-two-servers"
LOADERS = {
    "good": "return type('M', (), {'predict': lambda self, data: data})()",
    "lacking": "import a_library_that_nobody_has",
    "broken": "raise ValueError('no weights')",
}


@dataclass(frozen=True, slots=True)
class Copied:
    """A source, its copy, and the logged models by name."""

    source: Server
    target: Server
    models: dict[str, str]

    def file(self, name: str, path: str) -> Path:
        """A file of a model in the target's store."""
        [found] = Path(self.target.artifacts_root).glob(f"**/{self.models[name]}/artifacts/{path}")
        return found


@pytest.fixture(scope="module")
def copied(module_server: FreshServer, tmp_path_factory: pytest.TempPathFactory) -> Copied:
    """Three registered models and a prompt, each with an alias, and a copy of the server."""
    source, target = module_server(), module_server()
    done = subprocess.run(
        [sys.executable, "-c", SEED_MODELS, source.uri, json.dumps(LOADERS)], env=clean_environment(),
        cwd=tmp_path_factory.mktemp("seed"), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    with (
        closing(sqlite3.connect(source.database_path, timeout=30)) as old,
        closing(sqlite3.connect(target.database_path, timeout=30)) as new,
    ):
        old.backup(new)
    shutil.copytree(source.artifacts_root, target.artifacts_root, dirs_exist_ok=True)
    return Copied(source, target, json.loads(done.stdout.splitlines()[-1]))


def _found(done: AuditRun, facet: str) -> dict[str, tuple[str, str, str]]:
    return {
        finding["name"]: (finding["key"], finding["state"], finding["explanation"])
        for finding in done.report["findings"]
        if finding["facet"] == facet
    }


@pytest.mark.long
def test_loading_is_off_by_default(copied: Copied, tmp_path: Path) -> None:
    """No model's code runs; that is said, and makes the audit no partial one."""
    assert main(["snapshot", "--source-uri", copied.source.uri, "--to", str(tmp_path / "kept")]) == 0
    done = audit(tmp_path, str(tmp_path / "kept" / "source"), copied.target.uri)
    assert done.status == 0, done.output
    assert "test_model_versions_load" not in done.output
    assert not done.report["scope"]["partial"]
    assert any("--parity-load-models" in line for line in done.report["scope"]["left_out"])


@pytest.mark.long
def test_models_are_loaded_when_asked(copied: Copied, tmp_path: Path) -> None:
    """One loads; one needs a library that is absent: unverified; one fails: a mismatch."""
    done = audit(
        tmp_path, copied.source.uri, copied.target.uri, TWO, "--parity-load-models", "-k", "model_versions_load"
    )
    assert done.status == 1, done.output
    found = _found(done, "loads")
    assert set(found) == {"lacking version 1", "broken version 1"}
    assert found["lacking version 1"][1] == "unverified"
    assert "a_library_that_nobody_has" in found["lacking version 1"][2]
    assert found["broken version 1"][1] == "mismatch"
    assert "ValueError" in found["broken version 1"][2]


@pytest.mark.long
def test_a_renamed_model_is_loaded_by_its_own_name(copied: Copied, tmp_path: Path) -> None:
    """Not by that of the source, which on the target is another model's: one that cannot be loaded."""
    seed, file = Seeder(copied.target.uri), tmp_path / "renames.toml"
    file.write_text('[models]\ngood = "better"\n')

    def rename(*names: tuple[str, str]) -> None:
        for old, new in names:
            seed.call("POST", "registered-models/rename", {"name": old, "new_name": new})

    rename(("good", "better"), ("broken", "good"))
    try:
        only = ("--parity-load-models", "-k", "model_versions_load", "--parity-models", "good")
        done = audit(tmp_path, copied.source.uri, copied.target.uri, TWO, *only, "--parity-rename", str(file))
    finally:
        rename(("good", "broken"), ("better", "good"))
    assert done.status == 0, done.output
    assert done.report["sides"]["target"]["objects"]["model versions"] == 3
    assert [(row.name, row.state.value) for row in done.rows() if row.facet == "loads"] == [("good version 1", "match")]


@pytest.mark.parametrize("depth", ["digest", "listing"])
def test_an_mlmodel_that_does_not_parse(copied: Copied, tmp_path: Path, depth: str) -> None:
    """Broken on the target: red for its access, also where sizes are all that is compared."""
    file = copied.file("good", "MLmodel")
    kept = file.read_bytes()
    file.write_bytes(b"{" * len(kept))
    done = audit(tmp_path, copied.source.uri, copied.target.uri, TWO, "-k", "accessible", "--parity-depth", depth)
    file.write_bytes(kept)
    assert done.status == 1, done.output
    key, state, why = _found(done, "access")["good version 1"]
    assert (key, state) == ("MLmodel", "mismatch")
    assert "does not parse" in why
    assert set(_found(done, "access")) == {"good version 1"}


@pytest.mark.parametrize("depth", ["digest", "listing"])
def test_a_file_that_cannot_be_had(copied: Copied, tmp_path: Path, depth: str) -> None:
    """Listed, but refused: unverified, by name, whatever the depth."""
    with proxying(copied.target.uri) as proxy:
        refusal = status(403, body=b'{"error_code": "PERMISSION_DENIED", "message": "not for you"}')
        for path in ("good_loader.py", "artifacts/files", "get-artifact"):
            proxy.faults.append(Fault(path, refusal, times=1_000))
        done = audit(tmp_path, copied.source.uri, proxy.uri, TWO, "-k", "accessible", "--parity-depth", depth)
    assert done.status == 1, done.output
    key, state, why = _found(done, "access")["good version 1"]
    assert (key, state) == ("code/good_loader.py", "unverified")
    assert "cannot be downloaded" in why


ALIASES = {("best", f"{name}") for name in LOADERS} | {("live", "greet")}


def _answers(copied: Copied, folder: Path, spoil: Spoil, times: int = 1_000) -> AuditRun:
    """Audit a target that answers for aliases in another way."""
    with proxying(copied.target.uri) as proxy:
        proxy.faults.append(Fault("registered-models/alias", spoil, times=times))
        done = audit(folder, copied.source.uri, proxy.uri, TWO, "-k", "aliases_resolve")
        asked = sum("registered-models/alias" in seen.path for seen in proxy.seen)
    assert asked >= len(ALIASES)
    return done


@pytest.mark.long
def test_an_alias_that_the_server_does_not_resolve(copied: Copied, tmp_path: Path) -> None:
    """It is in the list, and nobody can load by it: named, for models and prompts; gone at the second look: green."""
    nothing = status(404, body=b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such alias"}')
    done = _answers(copied, tmp_path / "never", nothing)
    assert done.status == 1, done.output
    assert done.findings() == {("resolves", alias, "missing", name) for alias, name in ALIASES}
    assert done.failed() == {"test_model_aliases_resolve", "test_prompt_aliases_resolve"}
    assert _answers(copied, tmp_path / "once", nothing, times=1).status == 0


def test_an_alias_that_resolves_to_another_version(copied: Copied, tmp_path: Path) -> None:
    """The list says 1 and the server gives 7."""
    other = status(200, body=json.dumps({"model_version": {"name": "x", "version": "7"}}).encode())
    done = _answers(copied, tmp_path, other)
    assert done.status == 1, done.output
    assert done.findings() == {("resolves", alias, "mismatch", name) for alias, name in ALIASES}


def test_aliases_that_cannot_be_asked_for(copied: Copied, tmp_path: Path) -> None:
    """Refused: unverified, and no false green."""
    refusal = status(403, body=b'{"error_code": "PERMISSION_DENIED", "message": "not for you"}')
    done = _answers(copied, tmp_path, refusal)
    assert done.status == 1, done.output
    assert {state for _, _, state, _ in done.findings()} == {"unverified"}


def test_a_snapshot_as_target_resolves_nothing(copied: Copied, tmp_path: Path) -> None:
    """No server can be asked: the checks are left out, which the report says, and the rest is judged."""
    assert main(["snapshot", "--source-uri", copied.target.uri, "--to", str(tmp_path)]) == 0
    done = audit(tmp_path, copied.source.uri, str(tmp_path / "source"))
    assert done.status == 0, done.output
    assert not done.report["scope"]["partial"]
    assert any("aliases" in line for line in done.report["scope"]["left_out"])
    assert "aliases_resolve" not in " ".join(done.report["scope"]["checks"])


def _entity(kind: str, aliases: dict[str, str]) -> Entity:
    return Entity(kind, "churn", "churn", "", 1, {"aliases": aliases})


@pytest.mark.parametrize("kind", ["registered_model", "prompt"])
def test_what_is_judged_of_an_answer(kind: str) -> None:
    """Each alias of either side; one that was not asked for is never green."""
    one, two = _entity(kind, {"a": "1", "b": "2"}), _entity(kind, {"a": "1"})

    def judged(source: Entity, target: Entity, **answers: str | None) -> dict[str, State]:
        given = [Resolved("churn", alias, version) for alias, version in answers.items()]
        return {found.key: found.state for found in compare_resolved(source, target, given)}

    assert judged(one, one, a="1", b="2") == {}
    assert judged(one, one, a="2", b="2") == {"a": State.MISMATCH}
    assert judged(one, one, a=None, b="2") == {"a": State.MISSING}
    assert judged(one, one, a="1") == {"b": State.UNVERIFIED}
    # an alias that is lost is told by the list; one that is hidden from it is told here
    assert judged(one, two, a="1", b=None) == {}
    assert judged(one, two, a="1", b="2") == {"b": State.MISMATCH}
    assert judged(two, one, a="1", b="1") == {"b": State.MISMATCH}
