"""Options: one table, one order of precedence, one line for each bad value; what each does without a server."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.closed import closed
from support.memory_store import Store, audited, imported, rich_store, same_ids

from mlflow_parity.audit.settings import Settings
from mlflow_parity.core.errors import LocationError, UsageProblem
from mlflow_parity.core.locations import parse_arn, parse_location
from mlflow_parity.options import BY_NAME, DATABASES, OPTIONS, SIDES, is_active, raw_values, resolve

APP = "arn:aws:sagemaker:eu-central-1:123456789012:mlflow-app/app-ABCDEFGHIJKL"
SERVER = "arn:aws-us-gov:sagemaker:us-gov-west-1:123456789012:mlflow-tracking-server/my-server.1"
BASE = {"source-uri": "http://a", "target-uri": "http://b", "workers": "8", "max-findings": "20", "report-dir": "r"}


# --- the table


def test_names_follow_from_the_table() -> None:
    """Flag, ini name and variable of every option are of one pattern, unique, and its help is a phrase."""
    for option in OPTIONS:
        assert option.flag == ("--" if option.name in (*SIDES, *DATABASES) else "--parity-") + option.name
        assert option.ini == option.environment.removeprefix("MLFLOW_").lower()
        assert re.fullmatch(r"MLFLOW_PARITY_[A-Z_]+", option.environment)
        assert option.help[0].isupper()
        assert not option.help.endswith(".")
        assert len(option.help) <= 110
    for names in zip(*((option.flag, option.ini, option.environment, option.dest) for option in OPTIONS), strict=True):
        assert len(set(names)) == len(OPTIONS)
    assert {name.replace("_", "-") for name in (one.name for one in fields(Settings))} <= {*BY_NAME, "source", "target"}
    # credentials never are options
    assert not re.search(r"password|token|secret|username|key", " ".join(BY_NAME))


def test_help_and_table_agree(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--help`` has one group of ours with exactly the options of the table, each with its ini name and variable."""
    monkeypatch.setenv("COLUMNS", "300")
    shown = pytester.runpytest_subprocess("--help").stdout.str()
    group = shown.partition("mlflow-parity: compare two MLflow tracking servers:\n")[2]
    ours = []
    for line in group.splitlines():
        if not line.startswith("  "):
            break
        ours.append(line)
    text = " ".join(" ".join(ours).split())
    flags = set(re.findall(r"--[a-z][a-z-]+", text))
    assert flags == {option.flag for option in OPTIONS}
    for option in OPTIONS:
        assert f"{option.help} (ini: {option.ini}, env: {option.environment}" in text
        if option.default not in (None, "false"):
            assert f"default: {option.default})" in text
    assert shown.count("mlflow-parity: compare") == 1


class Given:
    """Stands for pytest's configuration: what was given on the command line and in the ini file."""

    def __init__(self, flags: Mapping[str, object], ini: Mapping[str, str]) -> None:
        self._flags, self._ini = flags, ini

    @property
    def option(self) -> Namespace:
        """What was given on the command line."""
        return Namespace(**self._flags)

    def getini(self, name: str) -> str:
        """Return what stands in the ini file."""
        return self._ini.get(name, "")


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_flag_before_environment_before_ini_before_default(option: Any) -> None:
    """Each source is used when those before it say nothing."""
    flags: dict[str, object] = {option.dest: ["one", "two"] if option.kind == "list" else "flag"}
    environ, ini = {option.environment: "env"}, {option.ini: "ini"}

    def value(flags: Mapping[str, object], environ: Mapping[str, str], ini: Mapping[str, str]) -> str | None:
        given: Any = Given(flags, ini)
        return raw_values(given, environ).get(option.name)

    assert value(flags, environ, ini) == ("one,two" if option.kind == "list" else "flag")
    assert value({}, environ, ini) == "env"
    assert value({}, {option.environment: ""}, ini) == "ini"
    assert value({}, {}, ini) == "ini"
    assert value({}, {}, {}) == option.default


def test_a_home_is_found_however_a_path_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No shell replaces the ``~`` of ``--option=~/x``, or of a variable: a folder named ``~`` is nobody's wish."""
    monkeypatch.setenv("HOME", str(tmp_path))
    paths = [option for option in OPTIONS if option.kind == "path"]
    assert {option.metavar for option in OPTIONS if option.kind == "text"}.isdisjoint({"FILE", "DIR", "REPORT"})
    for option in paths:
        by_flag = raw_values(None, {}, Namespace(**{option.dest: "~/x"}))
        by_variable = raw_values(None, {option.environment: "~/x"}, Namespace())
        assert by_flag[option.name] == by_variable[option.name] == str(tmp_path / "x")


def test_only_a_location_starts_an_audit() -> None:
    """Other options alone, wherever they were given, leave a pytest run what it is; a database is a location, too."""
    for option in OPTIONS:
        assert is_active({option.name: "x"}) == option.name.endswith(("-uri", "-arn", "-db"))
    assert not is_active({})
    assert not is_active({"source-uri": ""})


def test_the_settings_of_an_audit() -> None:
    """What was given as text becomes values."""
    settings = resolve(
        {
            **BASE,
            "experiments": "a, b*,,\n c\n",
            "exclude-experiments": "",
            "include-deleted": "True",
            "depth": "full",
            "workers": " 3 ",
        },
        {},
    )
    assert settings.experiments == ("a", "b*", "c")
    assert settings.exclude_experiments == ()
    assert settings.include_deleted
    assert (settings.depth, settings.workers, settings.max_findings) == ("full", 3, 20)
    assert (settings.source.endpoint, settings.target.endpoint) == ("http://a", "http://b")
    assert resolve(BASE, {}).depth == "digest"
    assert not resolve(BASE, {}).include_deleted


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"source-uri": ""}, r"the target is given but no source; add --source-uri or --source-arn"),
        ({"target-uri": ""}, r"the source is given but no target; add --target-uri or --target-arn"),
        ({"source-arn": APP}, r"--source-uri and --source-arn exclude each other"),
        ({"target-arn": APP}, r"--target-uri and --target-arn exclude each other"),
        ({"target-uri": "http://a"}, r"the same location \(http://a\)"),
        ({"target-uri": "HTTP://user:pass-word@A/"}, r"the same location \(http://a\)"),
        ({"source-uri": "ftp://a"}, r"--source-uri: cannot read 'ftp' locations"),
        (
            {"source-uri": "./mlruns"},
            r"--source-uri: '\./mlruns' is a file store, .*`mlflow server --backend-store-uri ",
        ),
        ({"source-uri": "databricks"}, r"--source-uri: 'databricks' is a Databricks workspace, .*mlflow-export-import"),
        ({"source-uri": "databricks-uc"}, r"--source-uri: 'databricks-uc' is a Databricks workspace"),
        ({"source-uri": "databricks://prof"}, r"--source-uri: 'databricks' is a Databricks workspace"),
        ({"source-uri": "s3://bucket/mlruns"}, r"--source-uri: 's3' is where artifacts are, without runs"),
        ({"source-uri": "host:5000"}, r"--source-uri: 'host:5000' has no scheme; give http://host:5000"),
        (
            {"target-uri": "postgresql://u:pw@h/d"},
            r"cannot read 'postgresql' .*http:// address \(beside it --source-db",
        ),
        ({"target-uri": __file__}, r"--target-uri: '.*test_values.py' is a file; give an http\(s\)://"),
        ({"target-uri": "/no/such/folder"}, r"--target-uri: no such snapshot directory: '/no/such/folder'"),
        ({"target-uri": "", "target-arn": "http://b"}, r"--target-arn: not a SageMaker MLflow ARN: 'http://b'"),
        ({"depth": "deep"}, r"--parity-depth: 'deep' is not one of listing, digest, full"),
        ({"evidence": "md5"}, r"--parity-evidence: 'md5' is not one of stores, sha256, weak"),
        ({"include-deleted": "perhaps"}, r"--parity-include-deleted: 'perhaps' is neither true nor false"),
        ({"workers": "0"}, r"--parity-workers: 0 is out of range; give a whole number from 1 to 64"),
        ({"workers": "65"}, r"--parity-workers: 65 is out of range"),
        ({"workers": "many"}, r"--parity-workers: 'many' is not a whole number; give one from 1 to 64"),
        ({"workers": ""}, r"--parity-workers: '' is not a whole number"),
        ({"max-findings": "-1"}, r"--parity-max-findings: -1 is out of range"),
        ({"max-findings": "1.5"}, r"--parity-max-findings: '1.5' is not a whole number"),
    ],
)
def test_a_bad_value_is_one_line(change: dict[str, str], says: str) -> None:
    """It names the option, what was wrong and what would do."""
    with pytest.raises(UsageProblem, match=says) as raised:
        resolve({**BASE, **change}, {})
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "option", "before"),
    [
        ("source-uri", "--source-uri", ""),
        ("target-db", "--target-db", "sqlite:///"),
        ("source-artifacts", "--parity-source-artifacts", "/"),
        ("target-artifacts", "--parity-target-artifacts", "file:///"),
        ("snapshot-dir", "--parity-snapshot-dir", ""),
    ],
)
@pytest.mark.parametrize("place", ["~nosuchuser/x", "a" * 300, "{folder}/ring/x"])
def test_a_path_that_cannot_be_is_one_line(tmp_path: Path, name: str, option: str, before: str, place: str) -> None:
    """Nobody's home, a name that is too long, links that lead in a ring."""
    (tmp_path / "ring").symlink_to("ring")
    text = before + place.format(folder=str(tmp_path).removeprefix("/" if before == "/" else ""))
    with pytest.raises(UsageProblem, match=f"^{option}: [^\n]+; [^\n]+$") as raised:
        resolve({**BASE, name: text}, {})
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("source-uri", "{folder}"),
        ("source-db", "sqlite:///{folder}/mlflow.db"),
        ("source-artifacts", "{folder}"),
        ("snapshot-dir", "{folder}"),
    ],
)
def test_a_folder_that_may_not_be_entered_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    """That of another user, as a server's database often is."""
    closed(monkeypatch, tmp_path)
    with pytest.raises(UsageProblem, match=rf"^--(parity-)?{name}: .+ cannot be used \(Permission denied\); .+$"):
        resolve({**BASE, name: text.format(folder=tmp_path / "folder")}, {})


def test_an_empty_folder_of_snapshots_is_refused() -> None:
    """A variable of a script that is not set: the snapshots would lie in whatever folder it runs in."""
    with pytest.raises(UsageProblem, match=r"^--parity-snapshot-dir: '' is no folder: pass one, or leave the option"):
        resolve({**BASE, "snapshot-dir": ""}, {})


# --- locations


@pytest.mark.parametrize(
    ("arn", "kind", "endpoint", "region", "service", "header"),
    [
        (
            APP,
            "app",
            "https://mlflow.sagemaker.eu-central-1.app.aws",
            "eu-central-1",
            "sagemaker",
            "x-sm-mlflow-app-arn",
        ),
        (
            SERVER,
            "tracking-server",
            "https://us-gov-west-1.experiments.sagemaker.aws",
            "us-gov-west-1",
            "sagemaker-mlflow",
            "x-mlflow-sm-tracking-server-arn",
        ),
    ],
)
def test_an_arn_tells_endpoint_region_service_and_header(
    arn: str, kind: str, endpoint: str, region: str, service: str, header: str
) -> None:
    """Both kinds, through both options; a custom endpoint replaces the host only."""
    for found in (parse_arn(arn), parse_location(arn, option="--source-uri")):
        assert (found.kind, found.endpoint, found.region) == (kind, endpoint, region)
        assert (found.service, found.routing_header, found.uri) == (service, header, arn)
        assert found.is_arn
    custom = parse_arn(arn, custom_endpoint="http://127.0.0.1:5000/prefix/")
    assert (custom.endpoint, custom.region, custom.service) == ("http://127.0.0.1:5000/prefix", region, service)


@pytest.mark.parametrize(
    "arn",
    [
        "arn",
        "arn:aws:sagemaker:eu-central-1:123456789012:mlflow-app/",
        "arn:aws:sagemaker:eu-central-1:123456789012:mlflow-app",
        "arn:aws:sagemaker:eu-central-1:12345678901:mlflow-app/app-A",
        "arn:aws:sagemaker:eu-central-1:1234567890123:mlflow-app/app-A",
        "arn:aws:sagemaker::123456789012:mlflow-app/app-A",
        "arn:aws:s3:eu-central-1:123456789012:mlflow-app/app-A",
        "arn:aws:sagemaker:eu-central-1:123456789012:model/app-A",
        "arn:aws:sagemaker:eu-central-1:123456789012:mlflow-app/app-A/extra",
        "arn:aws:sagemaker:eu-central-1:123456789012:mlflow-app/app-A\n",
        " arn:aws:sagemaker:eu-central-1:123456789012:mlflow-app/app-A",
        "ARN:aws:sagemaker:eu-central-1:123456789012:mlflow-app/app-A",
        "arn:aws:sagemaker:eu-central-1:123456789012:mlflow-app/" + "a" * 300,
        "",
    ],
)
def test_a_malformed_arn_is_refused(arn: str) -> None:
    """In one line that shows the form, before sagemaker-mlflow can die of it."""
    with pytest.raises(LocationError, match="not a SageMaker MLflow ARN") as raised:
        parse_arn(arn)
    assert "mlflow-tracking-server/NAME" in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("partition", ["aws-cn", "aws-iso", "aws-"])
def test_a_partition_without_endpoint_is_refused(partition: str) -> None:
    """The plugin serves two partitions; others are named as what they are."""
    with pytest.raises(LocationError, match=f"partition '{partition}' has no SageMaker MLflow endpoint"):
        parse_arn(APP.replace("arn:aws:", f"arn:{partition}:"))


@pytest.mark.parametrize(
    ("uri", "endpoint"),
    [
        ("http://host", "http://host"),
        ("HTTPS://Host.Example:5000/", "https://host.example:5000"),
        ("http://[::1]:5000/mlflow/", "http://[::1]:5000/mlflow"),
        ("http://ada:pass%20word@host:80/x", "http://host:80/x"),
    ],
)
def test_a_server_s_address(uri: str, endpoint: str) -> None:
    """The endpoint has no credentials and no slash at its end; what is displayed is the endpoint."""
    found = parse_location(uri, option="--source-uri")
    assert (found.kind, found.endpoint, found.display) == ("http", endpoint, endpoint)


@pytest.mark.parametrize(
    "uri",
    [
        "http://",
        "http:///path",
        "http://[::1",
        "http://host:99999",
        "http://host:port",
        "http://a b",
        "http://host\n.evil",
        "http://host/?q=1",
        "http://host/#f",
        "databricks",
        "uc",
        "sqlite:///mlflow.db",
        "file:///tmp",
        "",
        "  ",
    ],
)
def test_an_address_that_cannot_be_used_is_refused(uri: str) -> None:
    """One line that names the option; never an exception of a library."""
    with pytest.raises(LocationError, match=r"^--source-uri: ") as raised:
        parse_location(uri, option="--source-uri")
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    "uri",
    [
        "http://ada:hunter2@",
        "http://ada:hunter2@host:99999",
        "http://ada:hunter2@host/?q",
        # a slash or a letter that makes the password look like the port or the host
        "http://ada:hunter2/@host",
        "http://ada:hunter2\u2100@host",
        "htp://ada:hunter2@host",
        "//ada:hunter2@host",
        "ada:hunter2@host",
        "arn:hunter2@x",
    ],
)
def test_a_refusal_shows_no_password(uri: str) -> None:
    """Whatever is wrong with an address, what stands before the ``@`` is not repeated."""
    with pytest.raises(LocationError) as raised:
        parse_location(uri, option="--source-uri")
    assert "hunter2" not in str(raised.value)


@given(
    user=st.text("abcXYZ019._~-", min_size=1),
    password=st.text("abcXYZ019._~-%!$&", min_size=6),
    host=st.from_regex(r"[a-z]{1,9}\.example", fullmatch=True),
)
def test_a_password_is_in_no_text_of_a_location(user: str, password: str, host: str) -> None:
    """Neither in what is displayed nor in the endpoint."""
    found = parse_location(f"https://{user}:{password}@{host}/x", option="--target-uri")
    assert found.userinfo == (user, password)
    assert (found.display, found.endpoint, found.identity) == (f"https://{host}/x",) * 3


def test_a_custom_endpoint_may_differ_for_the_two_sides() -> None:
    """The variable of the plugin, with ``SOURCE_`` or ``TARGET_`` before it where the sides differ."""
    values = {**BASE, "source-uri": APP, "target-uri": "", "target-arn": SERVER}
    env = {"SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT": "http://both", "TARGET_SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT": "http://t"}
    settings = resolve(values, env)
    assert (settings.source.endpoint, settings.target.endpoint) == ("http://both", "http://t")


@pytest.mark.parametrize(("given", "live"), [("source", "target"), ("target", "source")])
def test_a_snapshot_is_not_put_in_the_place_of_the_one_that_is_given(tmp_path: Path, given: str, live: str) -> None:
    """The one that is there would be moved aside while it is read; beside it there is room."""
    kept = tmp_path / "kept"
    for name in ("source", "target"):
        (kept / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to(kept)
    values = {f"{live}-uri": "http://b", f"{given}-uri": str(kept / live), "report-dir": "r", "workers": "8",
              "max-findings": "20"}  # fmt: skip
    for folder in (kept, tmp_path / "link"):
        with pytest.raises(UsageProblem, match=f"the {live}'s would take its place; pass a different folder"):
            resolve({**values, "snapshot-dir": str(folder)}, {})
    assert resolve({**values, "snapshot-dir": str(tmp_path / "other")}, {}).snapshot_dir == str(tmp_path / "other")
    assert resolve({**values, f"{given}-uri": str(kept / given), "snapshot-dir": str(kept)}, {}).snapshot_dir == str(
        kept
    )


def test_the_same_snapshot_by_two_names_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path, an absolute one and a link lead to one place."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "snap").mkdir()
    (tmp_path / "link").symlink_to("snap")
    for other in ("./snap", str(tmp_path / "snap"), "link"):
        with pytest.raises(UsageProblem, match="the same location"):
            resolve({**BASE, "source-uri": "snap", "target-uri": other}, {})


# --- what each option does, on snapshots instead of servers


@dataclass(frozen=True, slots=True)
class Snapshots:
    """Directories of snapshots: a source, a good copy, and one with many faults."""

    source: Path
    good: Path
    bad: Path


def _faulty(store: Store) -> Store:
    for run in store.runs.values():
        run.params["lr"] = "other"
        run.files["deep/er/weights.bin"] = bytes(reversed(run.files["deep/er/weights.bin"]))
    return store


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> Snapshots:
    """Snapshots of stores in memory, made by the audit itself."""
    folder = tmp_path_factory.mktemp("snapshots")
    source = rich_store(random.Random(3))
    lost = next(run for run in source.runs.values() if run.params["number"] == "21")
    lost.lifecycle_stage = "deleted"
    good = imported(source)
    for run in list(good.runs.values()):
        if run.params["number"] == "21":
            # the tool does not export deleted runs
            del good.runs[run.run_id]
    for name, target in (("good", good), ("bad", _faulty(same_ids(good)))):
        audited(folder / "scratch", source, target, snapshot_dir=str(folder / name), depth="full")
    return Snapshots(folder / "good" / "source", folder / "good" / "target", folder / "bad" / "target")


Run = Callable[..., tuple[int, str, dict[str, Any]]]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ``pytest`` with options; return exit status, output and the report (empty when it has no verdict)."""
    for option in OPTIONS:
        monkeypatch.delenv(option.environment, raising=False)

    def run_pytest(*arguments: object, reports: str = "reports") -> tuple[int, str, dict[str, Any]]:
        done = pytester.runpytest_subprocess("-p", "no:cacheprovider", *map(str, arguments))
        path = pytester.path / reports / "report.json"
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if report.get("verdict") == "none":
            report = {}
        return int(done.ret), done.stdout.str() + done.stderr.str(), report

    return run_pytest


@pytest.mark.long
def test_report_dir_by_ini_environment_and_flag(
    run: Run, snapshots: Snapshots, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the three places is honoured in a real run, and the flag wins."""
    pytester.makeini(f"[pytest]\nparity_report_dir = by-ini\nparity_source_uri = {snapshots.source}\n")
    monkeypatch.setenv(BY_NAME["target-uri"].environment, str(snapshots.good))
    assert run("-k", "params", reports="by-ini")[0] == 0
    monkeypatch.setenv(BY_NAME["report-dir"].environment, "by-env")
    assert run("-k", "params", reports="by-env")[2]["verdict"] == "green"
    assert run("-k", "params", "--parity-report-dir", "by-flag", reports="by-flag")[2]["verdict"] == "green"
    assert sorted(path.name for path in pytester.path.glob("by-*")) == ["by-env", "by-flag", "by-ini"]


@pytest.mark.long
def test_snapshot_dir_that_cannot_be_used(run: Run, snapshots: Snapshots, pytester: pytest.Pytester) -> None:
    """A file in its place is one line, before anything is sent."""
    place = pytester.path / "file"
    place.write_text("mine")
    status, output, _ = run(
        "--source-uri", "http://127.0.0.1:9", "--target-uri", snapshots.good, "--parity-snapshot-dir", place
    )
    assert status != 0
    assert "Traceback" not in output
    assert place.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--source-uri", "http://a"], "the source is given but no target"),
        (
            ["--source-uri", "http://a", "--target-arn", "arn:aws:sagemaker:x"],
            "--target-arn: not a SageMaker MLflow ARN",
        ),
        (
            ["--source-uri", "http://a", "--target-uri", "http://b", "--parity-workers", "none"],
            "--parity-workers: 'none'",
        ),
        (["--source-uri", "http://ada:hunter2/@host", "--target-uri", "http://b"], "--source-uri: not a usable URL"),
        (
            ["--source-uri", "http://a", "--target-uri", "http://b", "--parity-depth", "x"],
            "--parity-depth: 'x' is not one of",
        ),
        (
            ["--source-uri", "http://a", "--target-uri", "http://b", "--parity-depth", "http://ada:hunter2@host"],
            "--parity-depth: 'http://[redacted]@host' is not one of",
        ),
    ],
)
def test_a_bad_value_ends_pytest_with_one_line(run: Run, arguments: list[str], says: str) -> None:
    """Exit status 4 as pytest's own usage errors, no traceback, no secret, no report."""
    status, output, report = run(*arguments)
    assert status == 4, output
    assert says in output
    assert "Traceback" not in output
    assert "INTERNALERROR" not in output
    assert "hunter2" not in output
    assert report == {}


@pytest.mark.parametrize(
    "refused",
    [
        ["--source-uri", "http://ada:hunter2@host", "--parity-workers", "0"],
        ["--source-uri", "http://ada:hunter2/@host"],
        ["--source-uri", "http://host", "--source-db", "postgresql://ada:hun/hunter2@host/db"],
        ["--source-uri", "http://host", "--source-db", "oracle://host/db?pwd=hunter2"],
    ],
)
def test_the_debug_file_of_what_is_refused_holds_no_secret(
    run: Run, pytester: pytest.Pytester, refused: list[str]
) -> None:
    """It begins with the command line, and is attached to tickets."""
    status, output, _ = run("--debug=d.log", "--target-uri", "http://b", *refused)
    assert status == 4, output
    written = (pytester.path / "d.log").read_text(encoding="utf-8")
    assert "--target-uri" in written
    assert "hunter2" not in written


@pytest.mark.long
def test_a_bad_value_in_ini_or_environment_ends_the_same_way(
    run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where argparse does not look, we do."""
    pytester.makeini("[pytest]\nparity_depth = deep\n")
    status, output, _ = run("--source-uri", "http://a", "--target-uri", "http://b")
    assert status == 4
    assert "--parity-depth: 'deep' is not one of" in output
    monkeypatch.setenv(BY_NAME["include-deleted"].environment, "maybe")
    monkeypatch.setenv(BY_NAME["depth"].environment, "digest")
    status, output, _ = run("--source-uri", "http://a", "--target-uri", "http://b")
    assert status == 4
    assert "--parity-include-deleted: 'maybe' is neither true nor false" in output


# --- what it costs those who do not use it


def _modules(script: str) -> set[str]:
    command = [sys.executable, "-c", f"{script}\nimport sys\nprint(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split())


def test_importing_the_plugin_imports_nothing_heavy() -> None:
    """Beside pytest it brings standard library and a few modules of its own."""
    brought = _modules("import pytest\nimport mlflow_parity.plugin") - _modules("import pytest")
    foreign = {name.partition(".")[0] for name in brought} - set(sys.stdlib_module_names) - {"mlflow_parity"}
    assert foreign == set()
    assert {name for name in brought if name.startswith("mlflow_parity")} == {
        "mlflow_parity",
        "mlflow_parity.core",
        "mlflow_parity.core.errors",
        "mlflow_parity.core.locations",
        "mlflow_parity.core.scope",
        "mlflow_parity.options",
        "mlflow_parity.plugin",
        "mlflow_parity.pytest_api",
        "mlflow_parity.pytest_api.fixtures",
    }


def test_importing_the_plugin_takes_under_50_ms() -> None:
    """Measured in fresh processes after pytest is there, in time of this process, because the machine is shared."""
    script = "import time, pytest\nbegan = time.process_time()\nimport mlflow_parity.plugin\n"
    script += "print(time.process_time() - began)"
    times = []
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
        times.append(float(done.stdout))
    assert min(times) < 0.050, times


@pytest.mark.long
def test_a_run_without_our_options_is_not_touched(run: Run, pytester: pytest.Pytester) -> None:
    """The same output and outcomes as without the plugin, for passes, failures, and other options of ours alone."""
    pytester.makepyfile(
        "import pytest\n\ndef test_pass(): pass\n\ndef test_fail(): assert 0\n\n"
        "@pytest.mark.parametrize('parity_experiment', [1, 2])\ndef test_params(parity_experiment): pass\n"
    )

    def shown(*arguments: str) -> list[str]:
        status, output, report = run("-v", *arguments)
        assert (status, report) == (1, {})
        return [re.sub(r"in \d.*", "", line) for line in output.splitlines() if not line.startswith("plugins:")]

    assert shown() == shown("-p", "no:mlflow_parity")
    assert shown("--parity-workers", "nonsense", "--parity-max-findings", "0") == shown()
    assert not (pytester.path / "reports").exists()


def test_a_check_without_an_audit_says_what_is_missing(run: Run) -> None:
    """Whoever runs the checks by path and names no servers is told how."""
    from mlflow_parity.plugin import checks_folder

    status, output, _ = run(checks_folder())
    assert status == 4
    assert output.count("add --source-uri (or --source-arn) and --target-uri (or --target-arn)") == 1
