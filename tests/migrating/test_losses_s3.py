"""What the plain tool loses between two ARNs whose artifacts are in S3; ours assumes a role for one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.audits import AuditRun, audit
from support.migrations import migrate_py
from support.roles import Role, lending
from support.seed import EPOCH, Seeder, pairs
from support.servers import emptied
from support.tool import export, import_

from mlflow_parity.standin.gateway import Rules, gateway
from mlflow_parity.standin.sagemaker import StandIn, new_credentials

pytestmark = pytest.mark.long

PROMPT = {"mlflow.prompt.is_prompt": "true"}
#: Registered models of which each version is lost or wrong after the tool. Of two logged models of one run it takes
#: the first for both versions: whichever that is, one of them is wrong.
VERSIONS = {
    "several": "one of several logged models",
    "outside": "a source outside of the run",
    "cut": "'artifacts' in the URI before its time",
    "folder": "'models' in the URI",
    "of a child": "in an experiment that is cut short",
    "tagged": "a tag, on a managed server",
}
FILE = "chapter#1 of%20two.txt"
PAGE = 1_000


class Source:
    """A managed server, filled behind its gateway."""

    def __init__(self, running: StandIn) -> None:
        self.running = running
        self.seed = Seeder(running.server.uri)
        self.client = running.s3.client(running.credentials, running.location.region)

    def put(self, root: str, path: str, content: bytes) -> None:
        """Put one object below an ``s3://`` URI."""
        bucket, _, key = root.removeprefix("s3://").partition("/")
        self.client.put_object(Bucket=bucket, Key=f"{key}/{path}", Body=content)

    def experiment(self, name: str, location: str = "") -> str:
        """Create an experiment whose artifacts are at a place of its own."""
        body = {"name": name, **({"artifact_location": location} if location else {})}
        return str(self.seed.call("POST", "experiments/create", body)["experiment_id"])

    def run(self, experiment: str, name: str, parent: str | None = None) -> tuple[str, str]:
        """Create a run; return its id and the root of its files."""
        run = self.seed.run(experiment, name, parent=parent)
        self.seed.log(run, params={"name": name}, metrics=[("loss", 0.5, EPOCH, 0)])
        root = str(self.seed.call("GET", "runs/get", {"run_id": run})["run"]["info"]["artifact_uri"])
        self.put(root, "model/MLmodel", f"run_id: {run}\n".encode())
        self.seed.end(run)
        return run, root

    def version(self, name: str, source: str, **more: Any) -> None:
        """Register one version."""
        self.seed.call("POST", "model-versions/create", {"name": name, "source": source, **more})

    def fill(self) -> None:
        """Write everything."""
        for name in (*VERSIONS, "kept"):
            tags = pairs({"tier": "gold"}) if name == "tagged" else []
            self.seed.call("POST", "registered-models/create", {"name": name, "tags": tags})
        one = self.experiment("plain")
        run, root = self.run(one, "trainer")
        self.put(root, FILE, b"of two")
        self.version("kept", f"{root}/model", run_id=run)
        self.seed.call("POST", "registered-models/alias", {"name": "kept", "alias": "champion", "version": "1"})
        self.version("tagged", f"{root}/model", run_id=run)
        self.put(root, "my models/plain/MLmodel", f"run_id: {run}\n".encode())
        self.version("folder", f"{root}/my models/plain", run_id=run)
        shared = f"{self.running.server.artifacts_root}/shared/model"
        self.put(shared, "MLmodel", b"flavors: {}\n")
        self.version("outside", shared, run_id=run)
        self._several()
        elsewhere = f"{self.running.server.artifacts_root}/my-artifacts/elsewhere"
        run, root = self.run(self.experiment("elsewhere", elsewhere), "of another place")
        self.version("cut", f"{root}/model", run_id=run)
        parent, _ = self.run(self.experiment("parents"), "parent")
        child, root = self.run(self.experiment("children"), "child", parent)
        self.version("of a child", f"{root}/model", run_id=child)
        self.seed.call("POST", "registered-models/create", {"name": "answer", "tags": pairs(PROMPT)})
        for number in range(3):
            text = {"mlflow.prompt.text": f"Answer {number}: {{{{question}}}}"}
            self.version("answer", "prompt-template", tags=pairs({**PROMPT, **text}))

    def _several(self) -> None:
        one = self.experiment("several models")
        run, _ = self.run(one, "trainer of several")
        models = []
        for name in ("first", "second"):
            body = {"experiment_id": one, "name": name, "source_run_id": run}
            info = self.seed.call("POST", "logged-models", body)["model"]["info"]
            models.append(info["model_id"])
            self.put(info["artifact_uri"], "weights.bin", name.encode())
            self.seed.call("PATCH", f"logged-models/{models[-1]}", {
                "model_id": models[-1], "status": "LOGGED_MODEL_READY",
            })  # fmt: skip
        outputs = [{"model_id": model, "step": 0} for model in models]
        self.seed.call("POST", "runs/outputs", {"run_id": run, "models": outputs})
        for model in models:
            self.version("several", f"models:/{model}", run_id=run, model_id=model)


def _there(uri: str) -> dict[str, int]:
    """How much there is of what a second import doubles, and the version behind an alias."""
    seed = Seeder(uri)
    experiments = seed.call("POST", "experiments/search", {"max_results": PAGE})["experiments"]
    places = [one["experiment_id"] for one in experiments]
    runs = seed.call("POST", "runs/search", {"experiment_ids": places, "max_results": PAGE})["runs"]
    models = seed.call("POST", "logged-models/search", {"experiment_ids": places, "max_results": 50})
    alias = seed.call("GET", "registered-models/alias", {"name": "kept", "alias": "champion"})["model_version"]
    found = {"runs": len(runs), "logged models": len(models.get("models", [])), "alias": int(alias["version"])}
    for name in ("kept", "answer"):
        # without these words a server leaves prompts out
        marked = f"name='{name}'" + (" AND tags.`mlflow.prompt.is_prompt` = 'true'" if name == "answer" else "")
        answer = seed.call("GET", "model-versions/search", {"filter": marked, "max_results": PAGE})
        found[name] = len(answer.get("model_versions", []))
    return found


@dataclass(frozen=True, slots=True)
class Both:
    """One source after the plain tool and after ours, each time with what there is after one import and after two."""

    plain: AuditRun
    plain_there: tuple[dict[str, int], dict[str, int]]
    ours: AuditRun
    ours_there: tuple[dict[str, int], dict[str, int]]
    role: Role
    calls: tuple[set[tuple[str, str]], set[tuple[str, str]]]
    """ARN and refusal of every call that reached source and target while ours was at work."""


def _plainly(source: StandIn, target: StandIn, folder: Path, both: Mapping[str, str]) -> Any:
    # it knows a managed server by these words in the endpoint, and can read the registry of no other ARN
    rules = Rules(source.location, source.credentials, prefix="/experiments.sagemaker")
    with gateway(source.server.uri, rules) as managed:
        env = {**source.environment(), "SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT": managed.endpoint}
        export(source.arn, folder / "tool", env=env)
    import_(target.arn, folder / "tool", env=target.environment())
    found = audit(folder / "plain", source.arn, target.arn, env=both)
    once = _there(target.server.uri)
    import_(target.arn, folder / "tool", "--delete-prompt", "True", env=target.environment())
    return found, (once, _there(target.server.uri))


@pytest.fixture(scope="module")
def both(sagemaker_server: StandIn, sagemaker_app: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Migrate a managed server to an App twice: with the plain tool, and with ``migrate.py run``."""
    folder, source, target = tmp_path_factory.mktemp("losses"), sagemaker_server, sagemaker_app
    trusted = new_credentials(temporary=False)
    role = Role("arn:aws:iam::000000000000:role/migrates", trusted, target.location.region, target.credentials)
    env = {**source.environment("SOURCE_"), **target.environment("TARGET_")}
    ends = ["--source-arn", source.arn, "--target-arn", target.arn]
    with emptied(source.server), lending(role) as tokens:
        Source(source).fill()
        with emptied(target.server):
            plain, plain_there = _plainly(source, target, folder, env)
        # what the target lets in is the role's, and this identity is not the role
        env |= {
            "TARGET_AWS_ACCESS_KEY_ID": trusted.access_key, "TARGET_AWS_SECRET_ACCESS_KEY": trusted.secret_key,
            "TARGET_AWS_SESSION_TOKEN": "", "TARGET_SAGEMAKER_MLFLOW_ASSUME_ROLE_ARN": role.arn,
            "AWS_ENDPOINT_URL_STS": tokens,
        }  # fmt: skip
        with emptied(target.server):
            marks = [len(one.gateway.recorded) for one in (source, target)]
            done = migrate_py(folder, "run", *ends, "--report-dir", "reports", env=env)
            once = _there(target.server.uri) if done.status == 0 else {}
            again = migrate_py(folder, "run", *ends, "--report-dir", "again", "--no-verify", env=env)
            ours = AuditRun(done.status, done.output, folder / "reports")
            assert again.status == 0, (done.output + again.output)[-5000:]
            there = (once, _there(target.server.uri))
            calls = [
                {(call.arn, call.refusal) for call in one.gateway.recorded[mark:]}
                for one, mark in zip((source, target), marks, strict=True)
            ]
        yield Both(plain, plain_there, ours, there, role, (calls[0], calls[1]))


def _red(found: AuditRun, name: str) -> set[tuple[str, str]]:
    rows = [row for row in found.rows() if row.name == name or row.name.startswith(f"{name} version ")]
    assert rows, name
    return {(row.facet, row.state.value) for row in rows if not row.state.green}


@pytest.mark.parametrize("name", VERSIONS, ids=list(VERSIONS.values()))
def test_a_version_is_lost_or_another_by_the_tool(both: Both, name: str) -> None:
    """Red after the plain tool, green after ours, by the bytes of its model too."""
    red = _red(both.plain, name)
    assert red
    assert not _red(both.ours, name)
    facets = {row.facet for row in both.ours.rows() if row.name == f"{name} version 1"}
    assert facets >= {"presence", "files"}


def test_a_child_of_another_experiment_finds_its_parent(both: Both) -> None:
    """The tool leaves the source's id in the tag."""
    assert "parent" in {facet for facet, _ in _red(both.plain, "child")}
    assert not _red(both.ours, "child")


def test_everything_else_arrives_with_a_role_on_one_side(both: Both) -> None:
    """Two ARNs of two services at the same time; every call of either is signed with what that one lets in."""
    assert both.ours.status == 0, both.ours.output[-3000:]
    assert both.ours.red_rows() == []
    assert not _red(both.ours, "trainer")
    arns = tuple({arn for arn, _ in calls} for calls in both.calls)
    assert [len(one) for one in arns] == [1, 1]
    assert {refusal for calls in both.calls for _, refusal in calls} == {""}
    assert both.role.assumed


def test_again(both: Both) -> None:
    """The tool's second import doubles, moves the alias, and with ``--delete-prompt`` leaves one version; ours none."""
    once, twice = both.plain_there
    assert once["answer"] == 3
    assert twice["answer"] == 1
    assert (once["alias"], twice["alias"] > 1) == (1, True)
    for what in ("runs", "logged models", "kept"):
        assert twice[what] == 2 * once[what] > 0, what
    once, twice = both.ours_there
    assert once == twice
    assert (once["answer"], once["alias"], once["kept"]) == (3, 1, 1)
