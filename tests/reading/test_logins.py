"""Servers with a login: is the user an administrator; what is said, refused and accepted where that is not so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from support.audits import audit
from support.logins import ADA, ADMIN, Guarded, guarded, login
from support.migrations import migrate_py
from support.proxy import Exchange, Fault, proxying, status
from support.seed_objects import HOOK
from support.servers import FreshServer

from mlflow_parity.core.locations import parse_location
from mlflow_parity.core.verdict import State
from mlflow_parity.reading.transport.auth import credentials
from mlflow_parity.reading.transport.session import Session
from mlflow_parity.reading.transport.timed import Limits
from mlflow_parity.reading.transport.visibility import NOT_ADMIN, Visibility, look
from mlflow_parity.standin.servers import Server

TOMORROW = (date.today() + timedelta(days=1)).isoformat()


def seen(uri: str, env: dict[str, str]) -> Visibility:
    """Ask a server what a user may see."""
    location = parse_location(uri, option="--source-uri")
    found = credentials(location, "source", env)
    session = Session(location, found, limits=Limits(tries=1))
    try:
        return look(session, found)
    finally:
        session.close()


#: What an administrator counts on each release: users, roles, permissions; only what the release can list.
COUNTED: dict[str, dict[str, int | None]] = {
    "2.16.2": {"users": None, "permissions": None},
    "2.22.5": {"users": None, "permissions": None},
    "3.4.0": {"users": None, "permissions": None},
    "3.10.1": {"users": 2, "permissions": 3},
    "newest": {"users": 2, "roles": 0, "permissions": 3},
}


@pytest.mark.long
@pytest.mark.parametrize("version", COUNTED)
def test_it_is_known_whether_the_user_is_an_administrator(version: str, tmp_path: Path) -> None:
    """On every release: an administrator sees everything, Ada does not; accounts are counted where they can be."""
    with guarded(tmp_path, version) as server:
        seeder = server.seeder()
        server.allow("experiment", seeder.experiment("open"))
        seeder.experiment("secret")
        names = [
            one["name"]
            for one in server.seeder(ADA).call("POST", "experiments/search", {"max_results": 9})["experiments"]
        ]
        # the cause of it all: no error, no hint
        assert names == ["open"]
        assert seen(server.uri, login(ADMIN)) == Visibility("", True, COUNTED[version])
        ada = seen(server.uri, login(ADA))
        assert (ada.hidden, ada.login) == (NOT_ADMIN, True)
        # a token says who it is on servers that tell; basic-auth takes none
        assert "may hide" in seen(server.uri, {"MLFLOW_TRACKING_TOKEN": "none-of-ours"}).hidden


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A server with a login, two experiments and two registered models, of which Ada may see one each; a webhook."""
    with guarded(tmp_path_factory.mktemp("guarded")) as server:
        seeder = server.seeder()
        for name in ("open", "secret"):
            experiment = seeder.experiment(name)
            seeder.run(experiment, f"run of {name}")
            seeder.call("POST", "registered-models/create", {"name": f"model {name}"})
            if name == "open":
                server.allow("experiment", experiment)
                server.allow("registered_model", "model open")
        hook = {"name": "hook", "url": HOOK, "secret": "s" * 20,
                "events": [{"entity": "REGISTERED_MODEL", "action": "CREATED"}]}  # fmt: skip
        seeder.call("POST", "webhooks", hook)
        yield server


@pytest.mark.long
def test_a_proxys_login_hides_nothing(fresh_server: FreshServer, source: Guarded) -> None:
    """MLflow without a login shows everything, whoever asks for one before it; MLflow's own is never taken for that."""
    plain = fresh_server()
    env = login(ADA)
    assert seen(plain.uri, env) == Visibility()
    assert seen(plain.uri, {}) == Visibility()

    def guard(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
        if exchange.headers.get("Authorization"):
            exchange.answer(code, headers, body)
        else:
            exchange.answer(401, [("WWW-Authenticate", 'Basic realm="team"')], b"<h1>401</h1>")

    with proxying(plain.uri) as front:
        front.faults.append(Fault("/", guard, 10**6))
        assert seen(front.uri, env) == Visibility()
        assert {one.path for one in front.seen if "authorization" not in one.headers} == {
            "/api/2.0/mlflow/users/current"
        }
    with proxying(source.uri) as front:
        front.faults.append(Fault("/users/", _hidden, 10**6))
        assert "may hide" in seen(front.uri, login(ADMIN)).hidden
        front.heal()
        front.faults.append(Fault("/users/", status(403), 10**6))
        assert "status 403" in seen(front.uri, login(ADMIN)).hidden


def _hidden(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Hide that there is such an endpoint, from those who have logged in."""
    if exchange.headers.get("Authorization"):
        exchange.answer(404, [], b"<title>404 Not Found</title>")
    else:
        exchange.answer(code, headers, body)


@pytest.fixture(scope="module")
def copy(source: Guarded, module_server: FreshServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Server, str]:
    """What an administrator migrated to a plain server, and what was printed."""
    target = module_server()
    folder = tmp_path_factory.mktemp("admin")
    env = login(ADMIN, "SOURCE")
    ends = ["--source-uri", source.uri, "--target-uri", target.uri]
    done = migrate_py(folder, "run", *ends, env=env)
    assert done.status == 0, done.output
    outcome = json.loads((folder / "migration" / "outcome.json").read_text())
    assert outcome["by_hand"] == {"users": 2, "permissions": 6, "secrets of webhooks": 1}
    report = json.loads((folder / "reports" / "report.json").read_text())
    assert report["sides"]["source"]["outside"] == outcome["by_hand"]
    return target, done.output


@pytest.mark.long
def test_what_no_tool_can_move_is_said_at_the_end(copy: tuple[Server, str]) -> None:
    """With counts, and never beside words that say that nothing stayed behind."""
    _, output = copy
    line = "Not moved, as no tool can, so make it by hand on the target: 2 users, 6 permissions, 1 secret of a webhook"
    assert line in output
    assert "left" not in output.partition("Not moved, as")[2].partition("Auditing")[0]
    assert "GREEN" in output


@pytest.mark.long
def test_a_user_who_may_not_see_everything(source: Guarded, copy: tuple[Server, str], tmp_path: Path) -> None:
    """Red with one row, one failing check, one sentence; the right is named; each refused request is one line."""
    target, _ = copy
    # only what Ada may see is on this target: without the row all would be green
    env = login(ADA, "SOURCE")
    red = audit(tmp_path / "red", source.uri, target.uri, "--parity-experiments", "open", env=env)
    assert red.status == 1, red.output
    assert [(row.kind, row.facet, row.state) for row in red.red_rows()] == [("server", "visibility", State.UNVERIFIED)]
    assert red.failed() == {"test_users_see_everything"}
    sentence = "the source hides what this user may not read: use an administrator"
    assert red.report["reasons"] == [sentence]
    assert sentence in red.output
    file = tmp_path / "waivers.toml"
    file.write_text(
        '[[waiver]]\nobject = ["(both servers)", "server", "*"]\nfacet = "visibility"\nkey = "source"\n'
        f'state = "unverified"\nreason = "Ada owns all of it"\nowner = "Ada"\nexpires = {TOMORROW}\n'
    )
    chosen = ("--parity-experiments", "open", "--parity-waivers", str(file))
    done = audit(tmp_path / "green", source.uri, target.uri, *chosen, env=env)
    assert done.status == 0, done.output
    assert "GREEN (partial)" in done.output
    assert any(sentence in line and "Ada owns all of it" in line for line in done.report["scope"]["left_out"])
    admin = audit(tmp_path / "admin", source.uri, target.uri, *chosen, env=login(ADMIN, "SOURCE"))
    assert admin.status == 1
    assert "matches nothing any more" in admin.output


@pytest.mark.long
def test_ada_is_refused_by_the_migration(source: Guarded, fresh_server: FreshServer, tmp_path: Path) -> None:
    """Before anything is written; with ``--accept-hidden`` it goes on, and the audit at its end is not green."""
    target = fresh_server()
    ends = ["--source-uri", source.uri, "--target-uri", target.uri]
    env = login(ADA, "SOURCE")
    done = migrate_py(tmp_path / "no", "run", *ends, env=env)
    assert done.status == 2, done.output
    assert "Nothing was written." in done.output
    assert "the source hides what this user may not read: use an administrator" in done.output
    assert "--accept-hidden" in done.output
    done = migrate_py(tmp_path / "yes", "run", *ends, "--accept-hidden", "--experiments", "open", env=env)
    assert done.status == 1, done.output
    assert "Migrated" in done.output or "Whole" in done.output
    report = json.loads((tmp_path / "yes" / "reports" / "report.json").read_text())
    assert report["verdict"] == "red"
    assert report["reasons"] == ["the source hides what this user may not read: use an administrator"]
    # an export that was made so is refused as well, wherever it is brought later
    into = ["--target-uri", fresh_server().uri, "--experiments", "open", "--work-dir", "migration"]
    done = migrate_py(tmp_path / "yes", "import", *into)
    assert done.status == 2, done.output
    assert "the export's source hides" in done.output


@pytest.mark.long
def test_what_is_refused_is_one_line_for_each_cause(source: Guarded, copy: tuple[Server, str], tmp_path: Path) -> None:
    """However many facets it costs; the status stands first and is never cut, in the terminal and in every finding."""
    target, _ = copy
    chosen = ("-k", "webhook or guardrail or issue or experiment_arrived")
    done = audit(tmp_path, source.uri, target.uri, *chosen, env=login(ADA, "SOURCE"))
    assert done.status == 1, done.output
    [line] = [reason for reason in done.report["reasons"] if "403" in reason]
    assert line == "status 403: the source's webhooks, issues, gateway guardrails could not be read by this user"
    assert not any(word in reason for reason in done.report["reasons"] for word in ("webhook is", "of 1 webhook"))
    told = [
        finding["explanation"] for finding in done.report["findings"] if "could not be read" in finding["explanation"]
    ]
    assert told
    assert all(": status 403 Permission denied (http://" in text for text in told)
    assert f"  - {line}" in done.output
    explained = [text for text in done.output.splitlines() if "gateway guardrails could not be read" in text]
    assert explained
    assert all("status 403" in text for text in explained)
