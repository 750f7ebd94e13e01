"""``--source-db`` and ``--target-db``: what they take, beside what they stand, and that no output has a password."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from support.audits import audit
from support.postgres import postgres
from support.secrecy import leaks
from support.seed import seed_small
from support.servers import FreshServer, server_of

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.locations import Location, parse_location
from mlflow_parity.options import OPTIONS, resolve
from mlflow_parity.reading.database.urls import database_of, parse_database

PASSWORD = "db-pass\"wörd/%+é&<x>'{y}@z"
SERVER = "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("text", "display"),
    [
        ("postgresql://u:p@h/d", "postgresql://h/d"),
        ("postgres://u@h:1/d", "postgresql://h:1/d"),
        ("postgresql+psycopg2://u:p@[::1]:5/d?sslmode=require", "postgresql://[::1]:5/d"),
        ("postgresql:///d?host=/run/postgresql", "postgresql:///d"),
        ("mysql+pymysql://u:p@h/d?charset=utf8mb4", "mysql://h/d"),
        ("mariadb+mariadbconnector://u:p@h:3/d", "mysql://h:3/d"),
        (f"postgresql://u:{quote(PASSWORD, safe='')}@h/d", "postgresql://h/d"),
        ("postgresql://h/d?user=u&password=p", "postgresql://h/d"),
        ("postgresql://u@/d?host=H&port=6", "postgresql://H:6/d"),
        ("postgresql://u@h:6/d?host=H&port=6&dbname=d", "postgresql://h:6/d"),
    ],
)
def test_urls_as_servers_have_them(text: str, display: str) -> None:
    """What ``--backend-store-uri`` takes is taken here, and shown without a secret."""
    found = parse_database(text, "source")
    assert found.display == display
    if PASSWORD[:3] in text:
        assert found.password == PASSWORD
    for secret in found.secrets:
        assert len(secret) == 1 or secret not in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        "h/d",
        "u:hunter2@h/d",
        "mssql+pyodbc://u:hunter2@h/d",
        "oracle://u:hunter2@h/d",
        "postgresql://u:hunter2@h",
        "postgresql://u:hunter2@h/",
        "postgresql://u:hunter2@h/d/e",
        "postgresql://u:hunter#2@h/d",
        "postgresql://u:hunt?er2@h/d",
        "postgresql://u:hunter2[@h/d",
        "postgresql://u:12345/hunter2@h",
        "postgresql://u:12345/hunter2%40x@h",
        "mysql://u:p@h/d?ssl_mode=VERIFY_IDENTITY",
        "postgresql://u:pw@h:hunter2/d",
        "postgresql://u:hunter2@h/d\nx",
        "mysql://u:hunter2@/d",
        "postgresql://u:hunter2@prod/production?host=127.0.0.1",
        "postgresql://u:hunter2@prod/production?dbname=test",
        "postgresql://u:hunter2@prod/production?dbname=Production",
        "postgresql://u:hunter2@prod:5432/production?port=5433",
        "postgresql://u:hunter2@/d?host=one&host=hunter2",
        "postgresql://u:hunter2@h/d?port=hunter2",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:////no/such/hunter.db",
        "sqlite:///mlflow.db?mode=rw",
        "",
        "postgresql",
    ],
)
def test_what_is_no_database_is_said_in_one_line(text: str) -> None:
    """A typing error shows which option, and never the password that may be anywhere in such a text."""
    with pytest.raises(UsageProblem) as refused:
        parse_database(text, "target")
    said = str(refused.value)
    assert said.startswith("--target-db: ")
    assert "\n" not in said
    assert "hunter2" not in said.replace("hunter.db", "")


def test_it_stands_beside_a_server_alone(tmp_path: Path) -> None:
    """Nothing else tells what a database does not: a snapshot and SageMaker have none beside them."""
    url = "postgresql://u@h/d"
    assert database_of(None, "source", parse_location(SERVER, option="--source-uri")) is None
    with pytest.raises(UsageProblem, match="--source-db: the source is a snapshot"):
        database_of(url, "source", Location("snapshot", str(tmp_path)))
    with pytest.raises(UsageProblem, match="--target-db: SageMaker gives no access"):
        database_of(url, "target", Location("app", "arn:…"))
    with pytest.raises(UsageProblem, match="--source-db stands beside --source-uri"):
        resolve({"source-db": url, "target-uri": SERVER, "depth": "digest", "report-dir": "r"}, {})


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("postgresql://u@h/d", "postgresql+psycopg2://v:p@H:5432/d"),
        ("mysql://u@127.0.0.1/d", "mariadb://u@localhost:3306/d"),
        ("sqlite:///{folder}/a.db", "sqlite:///{folder}/sub/../a.db"),
        ("sqlite:///{folder}/a.db", "sqlite:///{folder}/link.db"),
    ],
)
def test_one_database_is_not_compared_with_itself(tmp_path: Path, ours: str, theirs: str) -> None:
    """What one of two servers lost would be read from the other's database on both sides."""
    (tmp_path / "a.db").touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "a.db")
    databases = {"source-db": ours.format(folder=tmp_path), "target-db": theirs.format(folder=tmp_path)}
    with pytest.raises(UsageProblem, match="are the same database"):
        resolve(_given() | databases, {})


def _given() -> dict[str, str]:
    given = {option.name: option.default for option in OPTIONS if option.default is not None}
    return given | {"source-uri": SERVER, "target-uri": "http://127.0.0.1:5001"}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("postgresql://u@/d?host=one", "postgresql://u@/d?host=two"),
        ("postgresql://u@/d?host=/run/one", "postgresql://u@/d?host=/run/two"),
        ("postgresql://u@h/d?options=-csearch_path%3Done", "postgresql://u@h/d?options=-csearch_path%3Dtwo"),
        ("postgresql://u@h/d?hostaddr=10.0.0.1", "postgresql://u@h/d?hostaddr=10.0.0.2"),
        ("mysql://u@localhost/d?unix_socket=/run/one", "mysql://u@localhost/d?unix_socket=/run/two"),
    ],
)
def test_databases_that_only_look_alike_are_asked(ours: str, theirs: str) -> None:
    """What an option leads to is seen once the servers are asked which they are."""
    assert resolve(_given() | {"source-db": ours, "target-db": theirs}, {}).source_db == parse_database(ours, "source")


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path) -> None:
    """Whoever installed no driver is told which extra has it, not shown an ImportError."""
    program = (
        "import sys, importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == sys.argv[1] else find(name, *a)\n"
        "from mlflow_parity.core.errors import UsageProblem\n"
        "from mlflow_parity.reading.database.connection import Database\n"
        "from mlflow_parity.reading.database.urls import parse_database\n"
        "try:\n    Database(parse_database(sys.argv[2], 'source'))\n"
        "except UsageProblem as error:\n    print(error)\n"
    )
    for package, url in (("adbc_driver_postgresql", "postgresql://h/d"), ("pymysql", "mysql://h/d")):
        done = subprocess.run(
            [sys.executable, "-c", program, package, url], capture_output=True, text=True, timeout=60, cwd=tmp_path
        )
        assert done.stdout.startswith(f"--source-db: {package} is not installed"), done.stderr
        assert 'pip install "mlflow-parity[sql]"' in done.stdout


def test_a_password_is_in_no_output_when_nothing_answers(tmp_path: Path) -> None:
    """Whatever is switched on, and by whichever way it was given, a password of the database shows nowhere."""
    url = f"postgresql://audit%20or:{quote(PASSWORD, safe='')}@127.0.0.1:9/d"
    loud = ("-vv", "--log-level", "DEBUG", "--log-file", "log.txt", "--debug", "--showlocals", "--full-trace")
    for folder, arguments, env in (
        ("flag", ("--source-db", url, *loud), {}),
        ("variable", loud, {"MLFLOW_PARITY_SOURCE_DB": url}),
        ("option", ("--target-db", f"postgresql://127.0.0.1:9/d?user=u&password={quote(PASSWORD)}", *loud), {}),
    ):
        run = audit(tmp_path / folder, SERVER, "http://127.0.0.1:5001", *arguments, env=env)
        assert run.status == 4
        assert "-db: cannot be opened: postgresql://" in run.output
        assert "Traceback" not in run.output
        (tmp_path / folder / "output.txt").write_text(run.output, encoding="utf-8")
    assert leaks({"password of the database": PASSWORD}, tmp_path) == []


@pytest.mark.long
def test_a_password_is_in_no_output_of_a_whole_audit(fresh_server: FreshServer, tmp_path: Path) -> None:
    """The same where the audit goes through: reports, ledger, snapshots, JUnit, and the command that repeats it."""
    target = fresh_server()
    with postgres() as cluster, server_of("newest", tmp_path / "server", database=cluster.uri()) as source:
        seed_small(source.uri, unicode_files=False)
        url = f"postgresql://mlflow:{quote(PASSWORD, safe='')}@127.0.0.1:{cluster.port}/mlflow"
        run = audit(
            tmp_path / "audit",
            source.uri,
            target.uri,
            "--parity-snapshot-dir",
            "kept",
            "--junitxml=junit.xml",
            "-vv",
            "--log-level",
            "DEBUG",
            "--log-file=log.txt",
            "--debug",
            env={"MLFLOW_PARITY_SOURCE_DB": url},
        )
    assert run.status == 1, run.output
    assert f"postgresql://127.0.0.1:{cluster.port}/mlflow" in " ".join(run.report["command"])
    assert any("were read from its database" in note for note in run.report["notes"])
    (tmp_path / "audit" / "output.txt").write_text(run.output, encoding="utf-8")
    assert leaks({"password of the database": PASSWORD}, tmp_path / "audit") == []
