"""``docs/ci.md``: each command of each CI's recipe is run as it stands there, on a green pair and on a red one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import boto3
import mlflow
import pytest
import yaml
from moto.server import ThreadedMotoServer
from support.migrations import COMMAND, ROOT

from mlflow_parity.reporting.markdown import GITHUB
from mlflow_parity.standin.servers import Server, clean_environment

pytestmark = pytest.mark.long
_PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
_REGION = "eu-central-1"
_AWS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": _REGION}


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", _PAGE, re.DOTALL | re.MULTILINE)


def _lines(found: Any) -> Iterator[str]:
    """Yield every command of a recipe in YAML."""
    if isinstance(found, dict):
        for key, value in found.items():
            if key in ("run", "script"):
                yield from [value] if isinstance(value, str) else value
            else:
                yield from _lines(value)
    elif isinstance(found, list):
        for one in found:
            yield from _lines(one)


def _commands() -> dict[str, list[str]]:
    github, gitlab = (list(_lines(yaml.safe_load(block))) for block in _blocks("yaml"))
    [jenkins] = _blocks("groovy")
    return {"github": github, "gitlab": gitlab, "jenkins": re.findall(r"sh '([^']+)'", jenkins)}


@pytest.fixture
def pair(servers: tuple[Server, Server]) -> Iterator[tuple[Server, Server]]:
    """A migrated pair in which a run of the target has a tag too many."""
    client = mlflow.MlflowClient(servers[1].uri)
    [run, *_] = client.search_runs([one.experiment_id for one in client.search_experiments()])
    client.set_tag(run.info.run_id, "surplus", "of the target")
    yield servers
    client.delete_tag(run.info.run_id, "surplus")


def _run(command: str, folder: Path, ends: tuple[Server, Server], **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the page as a CI does, in an empty folder, with both ends in the environment."""
    folder.mkdir(exist_ok=True)
    line = re.sub(r"(?:parity/bin/)?mlflow-parity (?=audit)", f"{COMMAND} ", command)
    named = {"MLFLOW_PARITY_SOURCE_URI": ends[0].uri, "MLFLOW_PARITY_TARGET_URI": ends[1].uri}
    return subprocess.run(
        ["sh", "-c", line], cwd=folder, env=clean_environment({**named, **more}), capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip


def test_each_recipe_installs_and_audits() -> None:
    """No recipe has another command than those two, so nothing of it is left untried."""
    assert _commands().keys() == {"github", "gitlab", "jenkins"}
    for commands in _commands().values():
        install, audit = commands
        assert install.endswith("pip install mlflow-parity")
        assert re.match(r"(?:parity/bin/)?mlflow-parity audit ", audit)


@pytest.mark.parametrize("who", ["github", "gitlab", "jenkins"])
def test_a_red_audit(pair: tuple[Server, Server], tmp_path: Path, who: str) -> None:
    """The job fails; what it shows and keeps says why, each in its own form."""
    audit = _commands()[who][-1]
    step = tmp_path / "step.md"
    step.write_text("before\n")
    done = _run(audit, tmp_path / "work", pair, **({GITHUB: str(step)} if who == "github" else {}))
    assert done.returncode == 1, done.stdout
    page = step.read_text() if who == "github" else (tmp_path / "work" / "parity.md").read_text()
    # what other steps have written stays
    assert page.startswith("before\n# mlflow-parity: RED" if who == "github" else "# mlflow-parity: RED")
    report = json.loads((tmp_path / "work" / "reports" / "report.json").read_text())
    assert f"{report['verified']:,} of {report['objects']:,}" in page
    suite = ElementTree.parse(tmp_path / "work" / "parity.xml").getroot()
    told = {one.get("name"): one.get("value") for one in suite.iter("property")}
    assert told["mlflow_parity.verdict"] == "red"
    assert told["mlflow_parity.ledger_sha256"] == report["ledger_digest"]
    assert told["mlflow_parity.report"] == "reports/report.html"
    assert told["mlflow_parity.reason"] == "; ".join(report["reasons"])
    failed = [case for case in suite.iter("testcase") if case.find("failure") is not None]
    assert failed
    if "junit_family=xunit1" in audit:
        assert all(str(case.get("file")).endswith(".py") and str(case.get("line")).isdecimal() for case in failed)


def test_a_green_audit_and_one_without_a_verdict(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """Green is said as such; where nothing is compared the page says that there is no verdict."""
    audit = _commands()["gitlab"][-1]
    done = _run(audit, tmp_path / "green", servers)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "green" / "parity.md").read_text().startswith("# mlflow-parity: GREEN")
    nothing = _run(f"{audit} -k nothing", tmp_path / "nothing", servers)
    assert nothing.returncode == 5, nothing.stdout
    assert "NO VERDICT" in (tmp_path / "nothing" / "parity.md").read_text()
    told = {one.get("value") for one in ElementTree.parse(tmp_path / "nothing" / "parity.xml").iter("property")}
    assert "none" in told
    refused = _run(audit.replace("parity.md", "no/folder/parity.md"), tmp_path / "refused", servers)
    assert refused.returncode == 4
    assert "--parity-summary: cannot write to" in refused.stderr


def test_the_schedule_on_aws(pair: tuple[Server, Server], tmp_path: Path) -> None:
    """The page's program makes a pipeline and a schedule that starts it; the pipeline's step is an audit that works."""
    [program] = _blocks("python")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        here = f"http://{host}:{port}"
        env = clean_environment({**_AWS, "AWS_ENDPOINT_URL": here})
        subprocess.run([sys.executable, "-c", program], env=env, check=True, timeout=120, cwd=tmp_path)

        def client(name: str) -> Any:
            made: Any = boto3.Session("test", "test", region_name=_REGION)
            return made.client(name, endpoint_url=here)

        pipeline = client("sagemaker").describe_pipeline(PipelineName="parity-nightly")
        schedule = client("scheduler").get_schedule(Name="parity-nightly")
    finally:
        server.stop()
    assert schedule["Target"]["Arn"] == pipeline["PipelineArn"]
    [step] = json.loads(pipeline["PipelineDefinition"])["Steps"]
    shell, option, command = step["Arguments"]["AppSpecification"]["ContainerEntrypoint"]
    assert (shell, option) == ("sh", "-c")
    [output] = step["Arguments"]["ProcessingOutputConfig"]["Outputs"]
    kept = output["S3Output"]["LocalPath"]
    assert kept in command
    (tmp_path / "kept").mkdir()
    done = _run(command.replace(kept, str(tmp_path / "kept")), tmp_path / "work", pair)
    assert done.returncode == 1, done.stdout
    assert (tmp_path / "kept" / "summary.md").read_text().startswith("# mlflow-parity: RED")
    assert (tmp_path / "kept" / "report.html").exists()
