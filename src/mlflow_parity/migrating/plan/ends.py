"""Each end on its own: whether it answers, to whom and as which release, and what was found of both."""

from __future__ import annotations

import importlib.metadata
import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from mlflow_parity.core.errors import ReadError, RequestRefused, UsageProblem
from mlflow_parity.core.locations import Location
from mlflow_parity.core.notice import Level, Notice
from mlflow_parity.core.records import Experiment
from mlflow_parity.migrating.exim.tool import require_tool
from mlflow_parity.migrating.settings import Settings
from mlflow_parity.migrating.survey import Survey
from mlflow_parity.reading import open_reader
from mlflow_parity.reading.probed import Probed
from mlflow_parity.reading.transport.answering import shared_credentials
from mlflow_parity.reading.transport.auth import credentials
from mlflow_parity.reading.transport.capabilities import release
from mlflow_parity.reading.transport.kind_support import is_newer, newer
from mlflow_parity.reporting.side_report import begun
from mlflow_parity.sagemaker.apps import check_app

if TYPE_CHECKING:
    from mlflow_parity.reading.server import ServerReader
    from mlflow_parity.reading.transport.auth import Credentials, SideName

#: Oldest servers that were ever read.
_OLDEST = (2, 13)
#: The tool's import needs a client of MLflow 3.
_CLIENT = (3, 0)


@dataclass(slots=True)
class End:
    """One end, once it has answered."""

    reader: ServerReader
    credentials: Credentials
    experiments: list[Experiment]

    @property
    def version(self) -> str | None:
        """Its MLflow version, where it tells."""
        return self.reader.capabilities.version


@dataclass(slots=True)
class Checked:
    """What was found. ``survey`` is ``None`` when the source could not be looked at."""

    found: list[Notice] = field(default_factory=list)
    survey: Survey | None = None
    probed: Probed | None = None
    """How long histories are, and how fast the source answers; only where nothing is migrated yet."""
    versions: dict[str, str | None] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Whether both ends are one server: that says all that their places would."""
        return any(one.code == "same-server" for one in self.found)

    @property
    def blocked(self) -> bool:
        """Whether the migration must not begin."""
        return any(one.level == "error" for one in self.found)


def app_findings(location: Location) -> list[Notice]:
    """Say what is wrong with a SageMaker App."""
    return [Notice(one.level, "app", one.what, one.why, one.fix) for one in check_app(location)]


def trust_findings(settings: Settings) -> list[Notice]:
    """Say who answers in the place of whom, and which credentials both ends get."""
    found = []
    ends: tuple[tuple[SideName, Location | None], ...] = (("source", settings.source), ("target", settings.target))
    for side, location in ends:
        told = None if location is None else begun(side, location, os.environ)
        # an S3 of one's own is nothing to wonder about here
        if told is not None and (told.endpoint or told.tls_not_verified):
            found.append(Notice("note", f"{side}.answered", f"the {side}: {told.answered}"))
    if settings.source is not None and settings.target is not None:
        shared = shared_credentials(settings.source, settings.target, os.environ)
        found += [Notice("note", "credentials.shared", one) for one in shared]
    return found


def connect(location: Location, side: SideName, settings: Settings, checked: Checked, stack: ExitStack) -> End | None:
    """Open an end and list its experiments; what keeps it from answering is a finding."""
    try:
        reader = cast("ServerReader", open_reader(location, side, settings.workers, settings.allow_place))
        stack.callback(reader.close)
        return End(reader, credentials(location, side), reader.experiments())
    except UsageProblem as problem:
        fix = "fix what it names"
        checked.found.append(Notice("error", f"{side}.credentials", f"the {side} cannot be asked", str(problem), fix))
    except RequestRefused as error:
        # a fix that goes with the refusal says that it is not about rights
        refused = error.status == 401 or (error.status == 403 and not error.fix)
        what = f"the {side} refuses these credentials" if refused else f"the {side} cannot be read"
        fix = error.fix or (
            f"give others (the variables of MLflow or AWS, with {side.upper()}_ in front where the sides differ)"
            if refused
            else f"give the address of an MLflow tracking server to --{side}-uri"
        )
        code = f"{side}.refused" if refused else f"{side}.unreadable"
        checked.found.append(Notice("error", code, what, error.said, fix))
    except ReadError as error:
        fix = error.fix or f"check --{side}-uri or --{side}-arn, and that the server runs"
        checked.found.append(
            Notice("error", f"{side}.unreachable", f"the {side} did not respond like an MLflow server", error.said, fix)
        )
    return None


def hidden_findings(side: str, hidden: str, settings: Settings) -> list[Notice]:
    """Refuse a user to whom a server does not show everything, unless that was accepted."""
    if not hidden:
        return []
    why = "what it does not show is neither moved nor compared, and no list says so"
    fix = "give an administrator's credentials, or accept it with --accept-hidden: the audit is not green then"
    level: Level = "warning" if settings.accept_hidden else "error"
    return [
        Notice(
            level, f"{side.partition(' ')[0]}.hidden", f"the {side} {hidden}", why, "" if level == "warning" else fix
        )
    ]


def version_findings(checked: Checked, source: End | None, target: End | None) -> None:
    """Note which releases are at work, and refuse those that cannot be."""
    client = importlib.metadata.version("mlflow")
    checked.versions["client"] = client
    if release(client) < _CLIENT:
        fix = "pip install 'mlflow>=3'"
        checked.found.append(
            Notice("error", "client.version", f"the client is MLflow {client}", "the tool's import needs MLflow 3", fix)
        )
    try:
        checked.versions["tool"] = require_tool()
    except UsageProblem as problem:
        checked.found.append(
            Notice("error", "tool", "the Export Import tool cannot be used", str(problem), "fix what it names")
        )
    for side, end in (("source", source), ("target", target)):
        if end is None:
            continue
        version = checked.versions[side] = end.version
        if version is None:
            why = "what it can hold is asked of it, and its limits are taken to be the smallest"
            checked.found.append(
                Notice("warning", f"{side}.version", f"the {side} does not tell its MLflow version", why)
            )
        elif release(version) < _OLDEST:
            why = f"nothing older than {_OLDEST[0]}.{_OLDEST[1]} was ever tried"
            fix = "upgrade it first, or audit with great care"
            checked.found.append(Notice("warning", f"{side}.version", f"the {side} is MLflow {version}", why, fix))
        elif is_newer(version):
            why = (
                "what came with it is neither moved nor compared, so the audit is not green unless a waiver accepts it"
            )
            fix = "use a newer mlflow-parity, or see docs/waivers.md"
            checked.found.append(Notice("warning", f"{side}.release", newer(side, version), why, fix))
    told = ", ".join(f"{name} {version}" for name, version in checked.versions.items() if version is not None)
    checked.found.append(Notice("note", "versions", f"MLflow and the tool: {told}"))
