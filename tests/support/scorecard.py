"""``docs/scorecard.md``: what each public way to move a server keeps, alters and loses; ``make scorecard`` writes it.

One server with every kind of object is moved to an empty one by each way in turn, and audited. The figures are objects,
counted in the audit's rows: kept (every facet is as the contract says), altered, lost, and not to be read there.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from mlflow_parity.core.scope import Profile
from mlflow_parity.core.verdict import Row, State
from mlflow_parity.kinds import BY_NAME, plural_of
from mlflow_parity.migrating.exim.tool import DISTRIBUTION
from mlflow_parity.pytest_api.reasons import red_reasons
from mlflow_parity.standin.servers import Server, clean_environment, serving
from support import warm
from support.copied import audited, seed_copied
from support.migrations import COMMAND, ROOT
from support.postgres import postgres
from support.seed import seed_small
from support.servers import ServerPool, copy_database, server_of

PAGE = ROOT / "docs" / "scorecard.md"
_BIN = Path(sys.executable).parent
#: What is said of an object in the end, the best first.
KEPT, ALTERED, LOST, UNREAD, EXTRA = "kept", "altered", "lost", "not readable", "extra"
_FATES = (KEPT, ALTERED, LOST, UNREAD, EXTRA)
#: Sentences of the audit that the page shows of each way.
_REASONS = 6
_OLD, _NEW = "http://old:5000", "http://new:5000"
_STORE_VERSION = "2.22.5"
#: A Fernet key: both servers on PostgreSQL read the secrets of webhooks with it.
_KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#: What a cell of the page says where not all objects are whole.
_HARMED = re.compile(r"(?:\d+ kept, )?\*\*\d+ [a-z ]+\*\*(?:, \*\*\d+ [a-z ]+\*\*)*")
#: Fates of the objects of each kind.
Counts = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Said:
    """What a way said of itself: its exit status, and the last line that counts anything."""

    status: int
    line: str


@dataclass(frozen=True, slots=True)
class Way:
    """One way to move a server; ``commands`` as a reader types them."""

    name: str
    title: str
    commands: Sequence[str]
    profile: Profile
    move: Callable[[Server, Server, Path], Said]


@dataclass(frozen=True, slots=True)
class Card:
    """What became of everything by one way."""

    counts: Counts
    said: Said
    green: bool
    reasons: Sequence[str]


def _called(arguments: Sequence[str], uri: str, folder: Path) -> Said:
    done = subprocess.run(
        arguments,
        cwd=folder,
        env=clean_environment({"MLFLOW_TRACKING_URI": uri}),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
    counted = [line for line in lines if re.search(r'"?(exceptions|exported|imported|failed|ok)"?\W+\d', line)]
    return Said(done.returncode, counted[-1] if counted else "")


def _worst(said: Sequence[Said]) -> Said:
    failed = [one for one in said if one.status]
    return (failed or [one for one in said if one.line] or said)[-1]


def _bulk(*more: str) -> Callable[[Server, Server, Path], Said]:
    def move(source: Server, target: Server, folder: Path) -> Said:
        out = _called([str(_BIN / "export-all"), "--output-dir", "export", *more], source.uri, folder)
        given = ["--input-dir", "export", "--import-source-tags", "True", *more]
        return _worst([out, _called([str(_BIN / "import-all"), *given], target.uri, folder)])

    return move


#: The single tools, in the order in which what they move hangs together.
_SINGLE = (
    ("experiments", ("--experiments", "all"), ("--import-source-tags", "True")),
    ("models", ("--models", "all"), ("--import-source-tags", "True")),
    ("prompts", ("--prompts", "all"), ()),
    ("evaluation-datasets", ("--evaluation-datasets", "all"), ()),
)


def _single(source: Server, target: Server, folder: Path) -> Said:
    said = []
    for what, out, into in _SINGLE:
        said.append(_called([str(_BIN / f"export-{what}"), "--output-dir", what, *out], source.uri, folder))
        if (folder / what).is_dir():
            said.append(_called([str(_BIN / f"import-{what}"), "--input-dir", what, *into], target.uri, folder))
    return _worst(said)


def _copy(source: Server, target: Server, _: Path) -> Said:
    copy_database(source.database_path, target.database_path)
    shutil.copytree(source.artifacts_root, target.artifacts_root, dirs_exist_ok=True)
    return Said(0, "")


def _ours(source: Server, target: Server, folder: Path) -> Said:
    arguments = ["migrate", "run", "--source-uri", source.uri, "--target-uri", target.uri]
    done = warm.run([str(COMMAND), *arguments], kind="mlflow", cwd=folder, env=clean_environment())
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("parity: ")]
    return Said(done.returncode, lines[-1] if lines else "")


_SOURCE_TAGS = "--import-source-tags True"
WAYS = (
    Way(
        "export-all",
        "`export-all`, `import-all`",
        (f"MLFLOW_TRACKING_URI={_OLD} export-all --output-dir export",
         f"MLFLOW_TRACKING_URI={_NEW} import-all --input-dir export {_SOURCE_TAGS}"),
        "export-import",
        _bulk(),
    ),
    Way(
        "single",
        "its single tools",
        tuple(
            line
            for what, out, into in _SINGLE
            for line in (
                f"MLFLOW_TRACKING_URI={_OLD} export-{what} --output-dir {what} {' '.join(out)}",
                f"MLFLOW_TRACKING_URI={_NEW} import-{what} --input-dir {what} {' '.join(into)}".rstrip(),
            )
        ),
        "export-import",
        _single,
    ),
    Way("copy", "copy of database and files",
        ("sqlite3 old.db \".backup new.db\"", "cp -r old-artifacts new-artifacts"), "same-store", _copy),
    Way("migrate", "`mlflow-parity migrate run`",
        (f"mlflow-parity migrate run --source-uri {_OLD} --target-uri {_NEW}",), "export-import", _ours),
)  # fmt: skip
#: Apart, as it is not the same each time.
THREADS = Way(
    "threads",
    "`--use-threads True`",
    (f"MLFLOW_TRACKING_URI={_OLD} export-all --output-dir export --use-threads True",
     f"MLFLOW_TRACKING_URI={_NEW} import-all --input-dir export {_SOURCE_TAGS} --use-threads True"),
    "export-import",
    _bulk("--use-threads", "True"),
)  # fmt: skip
STORE = Way(
    "filestore",
    "`mlflow migrate-filestore`",
    ("mlflow migrate-filestore --source store --target sqlite:///store/mlflow.db",),
    "same-store",
    lambda source, target, folder: Said(0, ""),
)


DUMP = Way(
    "dump",
    "`pg_dump`",
    ("pg_dump --format custom old | pg_restore --dbname new", "cp -r old-artifacts new-artifacts"),
    "same-store",
    lambda source, target, folder: Said(0, ""),
)


def counts_of(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    """Return how many objects of each kind met which fate."""
    states: dict[tuple[str, str, str, str], set[State]] = {}
    found: dict[str, Counter[str]] = {}
    for row in rows:
        if row.kind not in BY_NAME:
            continue
        if row.source_id is not None:
            states.setdefault((row.kind, row.experiment, row.name, row.source_id), set()).add(row.state)
        elif row.facet == "presence" and row.target_id is not None and not row.state.green:
            found.setdefault(row.kind, Counter())[EXTRA] += 1
        elif row.facet == "presence" and row.target_id is None and row.state is State.UNVERIFIED:
            found.setdefault(row.kind, Counter())[UNREAD] += 1
    for (kind, *_), here in states.items():
        found.setdefault(kind, Counter())[_fate(here)] += 1
    return {
        kind: {fate: found[kind][fate] for fate in _FATES if found[kind][fate]} for kind in BY_NAME if kind in found
    }


def _fate(states: set[State]) -> str:
    if State.MISSING in states or State.AMBIGUOUS in states:
        return LOST
    if all(state.green for state in states):
        return KEPT
    return UNREAD if all(state.green or state is State.UNVERIFIED for state in states) else ALTERED


def card(source: str, target: str, profile: Profile, said: Said) -> Card:
    """Audit what a way has made."""
    done = audited(source, target, profile=profile, include_deleted=False)
    assert done.result is not None, done.failed
    reasons = [re.sub(r" \([^)]*\)", "", line) for line in red_reasons(done.result)]
    return Card(counts_of(done.rows), said, done.green, reasons)


def cards(pool: ServerPool, ways: Sequence[Way] = (*WAYS, THREADS)) -> dict[str, Card]:
    """Fill one server, and move and audit it by each way."""
    source = pool.take()
    seed_copied(source.uri)
    found = {}
    for way in ways:
        target = pool.take()
        with tempfile.TemporaryDirectory() as folder:
            said = way.move(source, target, Path(folder))
            found[way.name] = card(source.uri, target.uri, way.profile, said)
        pool.give_back("newest", target)
    pool.give_back("newest", source)
    return found


@contextmanager
def _file_store(folder: Path) -> Iterator[tuple[Server, Server, Said]]:
    """Yield a server of an older MLflow on a file store, the newest on what was made of it, and what was said."""
    store = folder / "store"
    with server_of(_STORE_VERSION, folder / "old", database=str(store / "mlruns")) as old:
        seed_small(old.uri)
        command = [str(_BIN / "mlflow"), "migrate-filestore", "--source", str(store)]
        said = _called([*command, "--target", f"sqlite:///{store}/mlflow.db"], old.uri, folder)
        shutil.copytree(old.artifacts_root, folder / "new" / "artifacts", dirs_exist_ok=True)
        with server_of("newest", folder / "new", database=f"sqlite:///{store / 'mlflow.db'}") as new:
            yield old, new, said


@contextmanager
def _dumped(folder: Path) -> Iterator[tuple[Server, Server, Said]]:
    """Yield a server on PostgreSQL, and one on what a dump of its database came to elsewhere."""
    with postgres() as cluster:
        ends = "-h", "127.0.0.1", "-p", str(cluster.port), "-U", "mlflow"
        key = {"MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": _KEY}
        with serving(folder / "old", database=cluster.create_database("old"), env=key) as old:
            seed_copied(old.uri)
            cluster.create_database("new")
            dump = [str(cluster.bin / "pg_dump"), *ends, "-Fc", "-f", str(folder / "dump"), "old"]
            said = [_called(dump, old.uri, folder)]
            said.append(
                _called([str(cluster.bin / "pg_restore"), *ends, "-d", "new", str(folder / "dump")], "", folder)
            )
            shutil.copytree(old.artifacts_root, folder / "new" / "artifacts", dirs_exist_ok=True)
            with serving(folder / "new", database=cluster.uri("new"), env=key) as new:
                yield old, new, _worst(said)


def dump_card() -> Card:
    """Move a server on PostgreSQL by a dump of its database."""
    with tempfile.TemporaryDirectory() as folder, _dumped(Path(folder)) as (old, new, said):
        return card(old.uri, new.uri, DUMP.profile, said)


def store_card() -> Card:
    """Move a file store, which holds fewer kinds of objects, by MLflow's own command."""
    with tempfile.TemporaryDirectory() as folder, _file_store(Path(folder)) as (old, new, said):
        return card(old.uri, new.uri, STORE.profile, said)


# --- the page


def page(found: Mapping[str, Card], dump: Card, store: Card) -> str:
    """Return ``docs/scorecard.md``."""
    kinds = [kind for kind in BY_NAME if any(kind in one.counts for one in found.values())]
    columns = [(way.title, found[way.name]) for way in WAYS]
    columns.insert(-1, (DUMP.title, dump))
    lines = [_HEAD.format(mlflow=version("mlflow"), tool=version(DISTRIBUTION)), *_table(kinds, columns)]
    for way in WAYS:
        lines += _section(way, found[way.name])
    lines += [*_section(DUMP, dump), _STORE.format(version=_STORE_VERSION), ""]
    lines += _table([kind for kind in BY_NAME if kind in store.counts], [(STORE.title, store)])
    lines += [*_body(STORE, store), f"{_APART}\n", *_table(kinds, [(THREADS.title, found[THREADS.name])])]
    return "\n".join([*lines, *_body(THREADS, found[THREADS.name])]).rstrip() + "\n"


def fixed(text: str) -> str:
    """Return what of the page is the same each time.

    Which objects the tool harms, and how, hangs on random ids; of which kinds it harms some does not.
    """
    rows = text.partition(_APART)[0].splitlines()
    return "\n".join(_HARMED.sub(_harmed, row) for row in rows if not row.startswith("- "))


def _harmed(found: re.Match[str]) -> str:
    counts = re.findall(r"(\d+) (?!extra)", found[0])
    return f"of {sum(map(int, counts))} some are harmed"


def _table(kinds: Sequence[str], columns: Sequence[tuple[str, Card]]) -> list[str]:
    rows = [["", *(title for title, _ in columns)]]
    rows += [[plural_of(kind), *(_cell(one.counts.get(kind, {})) for _, one in columns)] for kind in kinds]
    rows.append(["it said", *(_ended(one) for _, one in columns)])
    rows.append(["the audit", *("green" if one.green else "**red**" for _, one in columns)])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], f"|{'---|' * (len(columns) + 1)}", *lines[1:], ""]


def _cell(counts: Mapping[str, int]) -> str:
    if set(counts) == {KEPT}:
        return f"{counts[KEPT]} kept"
    return ", ".join(f"**{count} {fate}**" if fate != KEPT else f"{count} {fate}" for fate, count in counts.items())


def _ended(one: Card) -> str:
    return f"exit status {one.said.status}" + (f", `{one.said.line.strip(',')}`" if one.said.line else "")


def _section(way: Way, one: Card) -> list[str]:
    title = way.title[0].upper() + way.title[1:]
    return [f"## {title}", "", *_body(way, one)]


def _body(way: Way, one: Card) -> list[str]:
    lines = ["```text", *way.commands, "```", ""]
    if not one.reasons:
        return [*lines, "The audit found nothing.", ""]
    told = [f"- {line}" for line in one.reasons[:_REASONS]]
    if len(one.reasons) > _REASONS:
        told.append(f"- and {len(one.reasons) - _REASONS} more")
    return [*lines, "The audit:", "", *told, ""]


_HEAD = """# Scorecard

<!-- Generated by `make scorecard`; edit tests/support/scorecard.py instead. -->

One server with every kind of object is moved to an empty one by each public way, and audited. The figures are objects:
*kept* (all of it is as the [contract](contract.md) says), *altered* (it is there, and something of it is another),
*lost*, *not readable* there, and *extra* (nothing on the source is its original). MLflow {mlflow},
`databricks-mlflow-export-import` {tool}; both servers on SQLite (the dump: on PostgreSQL),
artifacts proxied. A test makes all of it again and compares. Which objects the tool harms, and
how, hangs on random ids: the figures are those of one run, and the test compares which kinds came whole.
"""
_STORE = """## A file store

MLflow {version} on a file store, which holds fewer kinds, moved by MLflow's own command.
"""
_APART = """## With threads

Both programs with `--use-threads True`. What is lost in this way is not the same each time: these are the figures of
one run."""


def _main() -> None:
    from mlflow_parity.standin import servers
    from support.sharing import lead

    servers.launch = warm.launch
    lead()
    with tempfile.TemporaryDirectory() as name:
        pool = ServerPool(Path(name) / "servers")
        try:
            PAGE.write_text(page(cards(pool), dump_card(), store_card()), encoding="utf-8")
        finally:
            pool.close()


if __name__ == "__main__":
    _main()
