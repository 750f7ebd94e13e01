"""What limits an audit as a whole: one row for both servers, whatever is selected, that only a waiver accepts."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from support.audits import audit
from support.joined import merge
from support.memory import MemoryReader as ObjectsReader
from support.memory import Store as Objects
from support.memory import run_audit
from support.memory_store import LOCATIONS, MemoryReader, audited, rich_store, same_ids
from support.proxy import Exchange, Fault, Spoil, proxying
from support.seed import Seeder, seed_small
from support.servers import FreshServer, copy_database
from support.tool import migrate

from mlflow_parity.__main__ import main
from mlflow_parity.audit.limits import SCOPE_ITEM
from mlflow_parity.audit.waivers.waivers import load_waivers
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.locations import parse_location
from mlflow_parity.core.records import Capabilities, Entity, Experiment
from mlflow_parity.core.verdict import State
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.reading.transport.kind_support import NEWEST, is_newer
from mlflow_parity.reading.transport.visibility import NOT_ADMIN, Visibility
from mlflow_parity.snapshot.incomplete import sentence

TOMORROW = (date.today() + timedelta(days=1)).isoformat()


class Reader(MemoryReader):
    """A reader of another release, or of a user to whom not everything is shown."""

    def __init__(self, side: SideName, hidden: str = "", version: str = NEWEST) -> None:
        store = rich_store()
        super().__init__(LOCATIONS[side], store if side == "source" else same_ids(store))
        self.visibility = Visibility(hidden, bool(hidden))
        self.version = version

    @property
    def capabilities(self) -> Capabilities:
        """Those of the release."""
        return Capabilities(self.version, True, True, True)


def waivers(folder: Path, *entries: str) -> str:
    """Write a file of waivers; an entry is what stands beside reason, owner and day."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "waivers.toml"
    told = f'reason = "agreed"\nowner = "Ada"\nexpires = {TOMORROW}\n'
    file.write_text("".join(f"[[waiver]]\n{entry}\n{told}" for entry in entries))
    return str(file)


SEEN = 'object = ["(both servers)", "server", "*"]\nfacet = "visibility"'
RELEASE = 'object = ["(both servers)", "server", "*"]\nfacet = "release"'


def test_nothing_limits_an_audit_of_known_releases_with_every_right(tmp_path: Path) -> None:
    """No row, no reason, and the counts are those of the objects."""
    done = audited(tmp_path, Reader("source"), Reader("target"))
    assert done.result.green
    assert [row for row in done.ledger.rows if row.kind == "server"] == []
    assert done.result.limited == {}


@pytest.mark.parametrize("promises", [None, ["params"]])
def test_a_user_who_may_not_see_everything_is_one_row_on_either_side(
    tmp_path: Path, promises: list[str] | None
) -> None:
    """Unverified and red, also where its check was not selected; both sides are one row with a sentence each."""
    done = audited(tmp_path, Reader("source", NOT_ADMIN), Reader("target", NOT_ADMIN), promises)
    assert not done.result.green
    assert [(row.kind, row.facet, row.state, row.findings) for row in done.ledger.red] == [
        ("server", "visibility", State.UNVERIFIED, 2)
    ]
    told = [finding.explanation for finding in done.result.findings]
    assert told == [f"the {side} {NOT_ADMIN}" for side in ("source", "target")]
    assert all("administrator" in line for line in told)
    target = audited(tmp_path / "b", Reader("source"), Reader("target", NOT_ADMIN), promises)
    assert [finding.key for finding in target.result.findings] == ["target"]


def test_a_newer_release_is_one_row_that_names_both(tmp_path: Path) -> None:
    """The server's release and the newest that is known; a patch release is newer, too."""
    done = audited(tmp_path, Reader("source", version="3.18.0"), Reader("target"))
    assert not done.result.green
    assert [(row.facet, row.state) for row in done.ledger.red] == [("release", State.UNVERIFIED)]
    [finding] = done.result.findings
    assert "3.18.0" in finding.explanation
    assert NEWEST in finding.explanation
    assert [is_newer(one) for one in ("3.17.3", "3.18.0rc1", "4.0.0", NEWEST, "3.9.9", "2.16.2", None)] == [
        True, True, True, False, False, False, False,
    ]  # fmt: skip


def test_a_waiver_accepts_it_and_the_audit_is_partial(tmp_path: Path) -> None:
    """Green with the reason among what was left out; each side and facet is accepted by itself, or by a glob."""

    def sides() -> tuple[Reader, Reader]:
        return Reader("source", NOT_ADMIN, "3.18.0"), Reader("target", NOT_ADMIN)

    done = audited(tmp_path / "all", *sides(), waivers=waivers(tmp_path, SEEN, RELEASE))
    assert done.result.green
    assert [row.state for row in done.ledger.rows if row.kind == "server"] == [State.WAIVED, State.WAIVED]
    assert len(done.result.accepted) == 2
    assert "hides what this user may not read" in done.result.accepted[0]
    assert "agreed" in done.result.accepted[0]
    half = audited(tmp_path / "half", *sides(), waivers=waivers(tmp_path / "h", f'{SEEN}\nkey = "source"', RELEASE))
    assert [(row.facet, row.state, row.findings) for row in half.ledger.red] == [("visibility", State.UNVERIFIED, 1)]
    assert half.result.accepted[0].startswith("the source is MLflow 3.18.0")


def test_a_waiver_of_a_limit_that_is_gone_is_red(tmp_path: Path) -> None:
    """As every waiver that matches nothing any more; one of another kind never accepts what is unverified."""
    done = audited(tmp_path / "a", Reader("source"), Reader("target"), waivers=waivers(tmp_path, SEEN))
    assert [used.status for used in done.result.waivers] == ["unused"]
    assert not done.result.green
    load_waivers(waivers(tmp_path / "ok", f'{SEEN}\nstate = "unverified"'))
    for entry in (f'{SEEN}\nstate = "missing"', 'object = ["*", "run", "*"]\nfacet = "params"\nstate = "unverified"'):
        with pytest.raises(UsageProblem, match="cannot be waived"):
            load_waivers(waivers(tmp_path / "bad", entry))


def test_an_accepted_limit_alone_is_no_verdict(tmp_path: Path) -> None:
    """Where nothing was compared a waived row about the scope makes no green."""
    done = audited(
        tmp_path, Reader("source", NOT_ADMIN), Reader("target"), ["webhooks"], waivers=waivers(tmp_path, SEEN)
    )
    assert done.result.totals[State.WAIVED] == 1
    assert done.result.empty
    assert not done.result.green


def test_a_snapshot_remembers_what_its_user_could_see(tmp_path: Path) -> None:
    """Later audits of it are as limited as its reading; one that does not say is limited, too."""
    first = audited(tmp_path / "first", Reader("source", NOT_ADMIN), Reader("target"), snapshot_dir=str(tmp_path / "s"))
    assert not first.result.green
    kept = parse_location(str(tmp_path / "s" / "source"), option="--source-uri")
    later = audited(tmp_path / "later", kept, Reader("target"))
    assert [(row.kind, row.facet) for row in later.ledger.red] == [("server", "visibility")]


@pytest.mark.long
def test_a_newer_server_is_never_plain_green(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Red with one failing check and one sentence; accepted it is green and partial, with workers as without."""
    # a release that has no kind which the server behind the proxy lacks
    source, target = fresh_server(), fresh_server()
    seed_small(source.uri)
    migrate(source.uri, target.uri, tmp_path / "export")
    with proxying(source.uri) as front:
        front.faults.append(Fault("/version", _version("3.17.9"), 10**6))
        red = audit(tmp_path / "red", front.uri, target.uri)
        assert red.status == 1, red.output
        assert red.failed() == {"test_releases_are_known"}
        assert [(row.kind, row.facet, row.state) for row in red.red_rows()] == [("server", "release", State.UNVERIFIED)]
        assert red.report["reasons"] == [
            f"the source is MLflow 3.17.9, newer than {NEWEST}, the newest known here: what it has beside is not read"
        ]
        assert red.report["not_green"] == [f"releases_are_known[{SCOPE_ITEM.id}]"]
        file = tmp_path / "waivers.toml"
        assert main(["waive", "--from", str(red.reports / "report.json"), "-o", str(file)]) == 0
        text = file.read_text().replace('owner = ""', 'owner = "Ada"').replace('reason = ""', 'reason = "looked up"')
        file.write_text(text)
        for name, more in (("green", ()), ("workers", ("-n", "2"))):
            done = audit(tmp_path / name, front.uri, target.uri, "--parity-waivers", str(file), *more)
            assert done.status == 0, done.output
            assert "GREEN (partial)" in done.output
            assert done.report["scope"]["partial"]
            assert any("3.17.9" in line and "looked up" in line for line in done.report["scope"]["left_out"])
        again = audit(tmp_path / "again", front.uri, target.uri, "--parity-recheck", str(red.reports / "report.json"))
        assert again.status == 1, again.output
        assert again.failed() == {"test_releases_are_known"}


@pytest.mark.long
def test_an_accepted_limit_does_not_make_an_empty_part_red(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Each part tells of it, empty ones too: joined they are what the whole is, and as accepted."""
    source, target = fresh_server(), fresh_server()
    run = Seeder(source.uri).run(Seeder(source.uri).experiment("one"), "only")
    Seeder(source.uri).end(run)
    copy_database(source.database_path, target.database_path)
    options = ("--parity-profile", "same-store", "--parity-two-servers", "--parity-experiments", "one")
    waived = ("--parity-waivers", waivers(tmp_path, RELEASE))
    with proxying(source.uri) as front:
        front.faults.append(Fault("/version", _version("3.17.9"), 10**6))
        uris = front.uri, target.uri
        whole = audit(tmp_path / "whole", *uris, *options, *waived)
        parts = {
            name: [
                audit(tmp_path / name / f"{n}", *uris, *options, *more, "--parity-subset", f"{n}/4")
                for n in range(1, 5)
            ]
            for name, more in (("waived", waived), ("red", ()))
        }
    assert whole.status == 0, whole.output
    assert {part.status for part in parts["waived"]} == {0, 5}
    assert {part.report["subset"]["rows"] for part in parts["waived"] if part.status == 5} == {1}
    joined = merge(tmp_path / "joined", [part.reports for part in parts["waived"]])
    assert joined.status == 0, joined.output
    assert joined.report["waivers"] == whole.report["waivers"]
    assert joined.report["waivers"][0]["covered"] == "1"
    # what was not accepted is red
    joined = merge(tmp_path / "limited", [part.reports for part in parts["red"]])
    assert joined.status == 1, joined.output
    assert "3.17.9, newer than" in joined.report["reasons"][0]


def test_kinds_that_a_server_does_not_serve_are_named(fresh_server: FreshServer, tmp_path: Path) -> None:
    """What the release may have and the server answers 404 for was not looked at: the report says so, by kind.

    It is not told as something that neither side has.
    """
    source, target = fresh_server("3.10.1"), fresh_server()
    seed_small(source.uri)
    with proxying(source.uri) as front:
        front.faults.append(Fault("/version", _version("3.12.0"), 10**6))
        done = audit(tmp_path, front.uri, target.uri, "-k", "issues or review_queues or webhooks or runs_arrived")
    [note] = [line for line in done.report["notes"] if line.startswith("not looked at on the source")]
    assert "MLflow 3.12.0 may have them: " in note
    assert "issues" in note
    assert not any("none on either side" in line and "issues" in line for line in done.report["notes"])


def _version(text: str) -> Spoil:
    def answer(exchange: Exchange, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        exchange.answer(status, headers, text.encode())

    return answer


def test_what_no_tool_can_move_is_counted_from_what_was_read() -> None:
    """Secrets by the objects that have them, archives by the tag of the traces, accounts as the server told them."""
    archived = {"mlflow.trace.spansLocation": "ARCHIVE_REPO"}
    tags = [archived, archived, {"mlflow.trace.spansLocation": "TRACKING_STORE", "note": "ARCHIVE_REPO"}, {}]
    traces = [Entity("trace", f"tr-{n}", "ask", "1", 1, {"tags": one, "state": "OK"}) for n, one in enumerate(tags)]
    hook = Entity("webhook", "h", "hook", "", 1, {"name": "hook"})
    secrets = [Entity("gateway_secret", str(n), f"key {n}", "", 1, {"definition": {}}) for n in range(2)]
    place = "mlflow-artifacts:/1"
    store = Objects([Experiment("1", "a", "active", place, 1, 1, {})], objects=[*traces, hook, *secrets])
    reader = ObjectsReader(store, LOCATIONS["source"], 0)
    reader.visibility = Visibility("", True, {"users": 3, "roles": 0, "permissions": None})
    done = run_audit(store, store, readers={"source": reader}, checks=["webhooks", "trace_info", "gateway_secrets"])
    assert done.result.outside["source"] == {
        "users": 3, "permissions": None, "secrets of webhooks": 1, "values of gateway secrets": 2, "archived traces": 2,
    }  # fmt: skip
    assert sentence(done.result.outside["source"]) == (
        "3 users, permissions (not counted), 1 secret of a webhook, 2 values of gateway secrets, 2 archived traces"
    )
