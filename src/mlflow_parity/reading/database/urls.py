"""What was given to ``--source-db`` or ``--target-db``."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.locations import Location, given_path

Dialect = Literal["postgresql", "mysql", "sqlite"]
#: What SQLAlchemy and people call them; a driver behind a ``+`` is SQLAlchemy's and means nothing here.
_DIALECTS: Mapping[str, Dialect] = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
    "sqlite": "sqlite",
}
_EXPECTED = "give postgresql://HOST/DATABASE, mysql+pymysql://HOST/DATABASE (USER@ before HOST) or sqlite:////PATH"
_SCHEME = re.compile(r"(?P<dialect>[A-Za-z0-9]+)(?:\+[A-Za-z0-9_]+)?://")
_PORTS = {"postgresql": 5432, "mysql": 3306}
_LOOPBACK = {"": "localhost", "127.0.0.1": "localhost", "::1": "localhost"}
#: What of the options of MySQL is understood: one that is not would be believed to hold.
MYSQL_OPTIONS = frozenset(
    ("charset", "unix_socket", "ssl_ca", "ssl_cert", "ssl_key", "ssl_verify_cert", "ssl_verify_identity")
)
#: Options that lead to another server, or to another schema of it, than the same URL without them.
_ELSEWHERE = frozenset(("host", "hostaddr", "options", "service", "target_session_attrs", "unix_socket"))
#: Names of options that carry a secret.
_SECRET = re.compile("pass", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """One validated URL; ``side`` is the side whose server keeps its data there."""

    side: str
    dialect: Dialect
    host: str = ""
    port: int | None = None
    user: str = ""
    password: str = field(default="", repr=False)
    database: str = ""
    """Its name; for SQLite the path of the file."""
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    written: tuple[str, ...] = field(default=(), repr=False)
    """The secrets as they stand in the URL."""

    @property
    def option(self) -> str:
        """The option by which it was given."""
        return f"--{self.side}-db"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be printed of it, as it is meant and as it was written."""
        hidden = [self.password, *self.written, *(value for name, value in self.options if _SECRET.search(name))]
        return tuple(dict.fromkeys(one for one in hidden if one))

    @property
    def digest(self) -> str:
        """Tells databases apart that are shown alike, and users of one, who may see other schemas; of no secret."""
        database = str(Path(self.database).resolve()) if self.dialect == "sqlite" else self.database
        options = sorted(option for option in self.options if not _SECRET.search(option[0]))
        told = json.dumps([self.dialect, self.host, self.port, self.user, database, options])
        return hashlib.sha256(told.encode()).hexdigest()

    @property
    def display(self) -> str:
        """The URL as it may be printed: no user, no password and no options."""
        if self.dialect == "sqlite":
            return f"sqlite:///{self.database}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.dialect}://{host}{'' if self.port is None else f':{self.port}'}/{self.database}"


def parse_database(text: str, side: str) -> DatabaseUrl:
    """Validate a URL as SQLAlchemy and ``mlflow server --backend-store-uri`` take it.

    Raises:
        UsageProblem: one line saying what is wrong with it and what would do.
    """
    option = f"--{side}-db"
    found = _SCHEME.match(text)
    if found is None or not text.isprintable():
        raise UsageProblem(f"{option}: not the URL of a database; {_EXPECTED}")
    dialect = _DIALECTS.get(found["dialect"].lower())
    if dialect is None:
        raise UsageProblem(f"{option}: {found['dialect']} databases cannot be read; {_EXPECTED}, or leave it out")
    if dialect == "sqlite":
        return _sqlite(text[found.end() :], side)
    try:
        parts = urlsplit(f"{dialect}://{text[found.end() :]}")
        host, port = unquote(parts.hostname or ""), parts.port
    except ValueError:
        # the reason may quote what was taken for a port or host, and is a password
        raise UsageProblem(
            f"{option}: not a usable URL (malformed; is a character of the password to be %-encoded?); {_EXPECTED}"
        ) from None
    database = unquote(parts.path.removeprefix("/"))
    # what follows an unencoded # or ? may be the rest of a password, and is named nowhere
    if parts.fragment or not database or {"/", "@"} & {*database, *parts.path[1:]} or any(map(str.isspace, text)):
        raise UsageProblem(
            f"{option}: the URL names no database, or a character of the password is to be %-encoded; {_EXPECTED}"
        )
    if dialect == "mysql" and not host:
        raise UsageProblem(f"{option}: the URL has no host; {_EXPECTED}")
    options = tuple(parse_qsl(parts.query, keep_blank_values=True))
    if dialect == "mysql" and (unknown := sorted({name for name, _ in options} - MYSQL_OPTIONS)):
        raise UsageProblem(
            f"{option}: the option {unknown[0][:40]!r} of the URL is not understood; leave it out, or use one of "
            f"{', '.join(sorted(MYSQL_OPTIONS))}"
        )
    if dialect == "postgresql":
        host, port, options = _one_place(option, host, port, database, options)
    written = [word.partition("=")[2] for word in parts.query.split("&") if _SECRET.search(word.partition("=")[0])]
    return DatabaseUrl(
        side,
        dialect,
        host,
        port,
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        database,
        options,
        tuple(one for one in (parts.password or "", *written) if one),
    )


def _one_place(
    option: str, host: str, port: int | None, database: str, options: tuple[tuple[str, str], ...]
) -> tuple[str, int | None, tuple[tuple[str, str], ...]]:
    """Return host, port and the other options; to libpq an option wins, and the report would name another database.

    Raises:
        UsageProblem: an option names another one than the URL, or the options name two.
    """
    named = {"host": host, "port": "" if port is None else str(port), "dbname": database}
    rest = []
    for name, value in options:
        if name not in named:
            rest.append((name, value))
        elif value and named[name] not in ("", value) and (name != "host" or value.lower() != named[name].lower()):
            raise UsageProblem(
                f"{option}: the option {name!r} of the URL names another one than the URL itself; {_EXPECTED}"
            )
        elif value:
            named[name] = named[name] or value
    found = named["port"]
    if found and not (found.isascii() and found.isdecimal() and int(found) in range(1, 65_536)):
        raise UsageProblem(f"{option}: the option 'port' of the URL is no port; {_EXPECTED}")
    if named["host"].startswith("/") and not host:
        # the folder of a socket is no host
        rest.append(("host", named["host"]))
        named["host"] = ""
    return named["host"], int(found) if found else None, tuple(rest)


def _sqlite(rest: str, side: str) -> DatabaseUrl:
    """Return the file of ``sqlite:///relative`` or ``sqlite:////absolute``."""
    name, question, _ = rest.removeprefix("/").partition("?")
    if not rest.startswith("/") or not name or name == ":memory:" or question:
        raise UsageProblem(
            f"--{side}-db: the URL names no file; give sqlite:////PATH, as the server has it, no options"
        )
    path = given_path(name, f"--{side}-db", "give a file that this user may read, as sqlite:////PATH")
    if not path.is_file():
        raise UsageProblem(f"--{side}-db: no such file: {name!r}; give the file of that server, as sqlite:////PATH")
    return DatabaseUrl(side, "sqlite", database=str(path))


def is_same(one: DatabaseUrl | None, other: DatabaseUrl | None) -> bool:
    """Whether both URLs are known to mean one database."""
    if one is None or other is None or one.dialect != other.dialect:
        return False
    if one.dialect == "sqlite":
        return Path(one.database).samefile(other.database)
    return _address(one) == _address(other)


def _address(url: DatabaseUrl) -> tuple[object, ...]:
    host = url.host.lower()
    elsewhere = sorted(option for option in url.options if option[0] in _ELSEWHERE)
    return _LOOPBACK.get(host, host), url.port or _PORTS.get(url.dialect, 0), url.database, elsewhere


def database_of(text: str | None, side: str, location: Location) -> DatabaseUrl | None:
    """Return the database beside a location; ``None``: none was given.

    Raises:
        UsageProblem: it is none, or that location cannot have one beside it.
    """
    if not text:
        return None
    found = parse_database(text, side)
    if location.kind == "snapshot":
        raise UsageProblem(f"{found.option}: the {side} is a snapshot, and nothing is read of a server; leave it out")
    if location.is_arn:
        raise UsageProblem(
            f"{found.option}: SageMaker gives no access to the database of {location.kind}s; leave it out"
        )
    return found
