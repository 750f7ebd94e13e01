"""The honest end of a migration: every object that was not moved, why, and the command that tries it again."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.local.files import write as write_file
from mlflow_parity.core.locations import Location
from mlflow_parity.core.notice import migrate_command
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.text import counted, json_safe, listed, visible
from mlflow_parity.kinds import KINDS, plural_of
from mlflow_parity.migrating.known_losses import is_by_contract
from mlflow_parity.migrating.settings import Settings, in_scope, others_in_scope
from mlflow_parity.migrating.write.link_state import FIXED
from mlflow_parity.reading.artifacts.trusted_places import MIGRATE_OPTION
from mlflow_parity.snapshot import SERVER
from mlflow_parity.snapshot.incomplete import by_hand, sentence

if TYPE_CHECKING:
    from mlflow_parity.migrating.journal import Entry, Journal
    from mlflow_parity.snapshot.incomplete import Unread
    from mlflow_parity.snapshot.store import Snapshot

#: ``unread``: the source did not give it; ``failed``: the target did not take it; ``waiting``: not whole, or not begun;
#: ``unmovable``: MLflow's API cannot write it.
#: ``double``: there, and a further copy of it that somebody else made.
Fate = Literal["unread", "failed", "waiting", "unmovable", "double"]
_FATES: dict[str, Fate] = {"failed": "failed", "begun": "waiting", "unmovable": "unmovable"}
#: Objects that are held against the journal at once.
_CHUNK = 1_000
#: Objects that the terminal names; the file has all.
_SHOWN = 50
_FORMAT = "mlflow-parity-outcome"


@dataclass(frozen=True, slots=True)
class Unmoved:
    """One object that is not on the target, or not whole. ``place`` is the name of its experiment (empty: none)."""

    kind: str
    source_id: str
    name: str
    place: str
    fate: Fate
    reason: str
    retry: str
    """The command that tries again; empty where that is of no use."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of everything in scope: objects moved by kind, and those that were not.

    ``noted`` are moved but for what no request of MLflow writes and the contract lets differ. ``by_hand`` counts what
    no tool can move (``None``: it could not be counted).
    """

    moved: Counter[str] = field(default_factory=Counter)
    unmoved: list[Unmoved] = field(default_factory=list)
    noted: list[Unmoved] = field(default_factory=list)
    doubled: list[Unmoved] = field(default_factory=list)
    """Further copies on the target, which this migration did not make."""
    by_hand: dict[str, int | None] = field(default_factory=dict)
    disabled: int = 0
    """Webhooks that are active on the source, and were written disabled."""
    enable: str = ""
    """The command that enables them."""

    @property
    def status(self) -> int:
        """Exit status: 0 when everything was moved, once, else 1."""
        return 1 if self.unmoved or self.doubled else 0


def settle(
    settings: Settings,
    step: str,
    unread: Iterable[Unread],
    snapshot: Snapshot,
    journal: Journal | None,
    *,
    wanted: Callable[[str], bool] = lambda _: True,
    lost: str = "",
) -> Outcome:
    """Hold what was read against the journal; nothing of the snapshot that is in scope is taken on trust.

    ``journal`` is ``None`` where only an export was made; ``wanted`` says which registered models and prompts are in
    scope, by name; ``lost`` is why the work ended before its end.
    """
    here = [one.experiment_id for one in in_scope(settings, snapshot.experiments)]
    outcome = Outcome(by_hand=by_hand(snapshot, here))
    reasons: dict[tuple[str, str], list[str]] = {}
    loose: list[Unread] = []
    names: dict[tuple[str, str], str] = {}
    for one in unread:
        # a list that could not be read stands for no object
        if one.source_id:
            reasons.setdefault((one.kind, one.source_id), []).append(one.why)
            names[one.kind, one.source_id] = one.name
        else:
            loose.append(one)
    again = retry_command(settings, step)
    from_start = retry_command(settings, "run" if step == "import" and settings.source is not None else step)
    anew = retry_command(settings, "repair")
    if lost:
        outcome.unmoved.append(Unmoved("server", "", "", "", "failed", f"this stopped the work: {lost}", again))
    for one in loose:
        outcome.unmoved.append(Unmoved(one.kind, "", one.name, "", "unread", one.why, from_start))
    for kind, objects in _by_kind(snapshot, settings, wanted):
        for source_id, name, place, entry in _with_entries(kind, objects, journal):
            missing = reasons.pop((kind, source_id), [])
            if not missing and (journal is None or (entry is not None and entry.state == "done")):
                outcome.moved[kind] += 1
                continue
            if not missing and entry is not None and entry.state == "unmovable" and is_by_contract(entry.reason or ""):
                outcome.moved[kind] += 1
                outcome.noted.append(Unmoved(kind, source_id, name, place, "unmovable", entry.reason or "", ""))
                continue
            fate = "unread" if missing else _fate(entry)
            why = [*missing, *([entry.reason] if entry is not None and entry.reason else [])]
            told = "; ".join(dict.fromkeys(why)) or _WAITING[entry is None]
            retry = {"unread": from_start, "unmovable": ""}.get(fate, anew if FIXED in told else again)
            outcome.unmoved.append(Unmoved(kind, source_id, name, place, fate, told, retry))
    for (kind, source_id), missing in reasons.items():
        name = names[kind, source_id]
        outcome.unmoved.append(Unmoved(kind, source_id, name, "", "unread", "; ".join(missing), from_start))
    return outcome


def add_further_copies(
    outcome: Outcome,
    settings: Settings,
    step: str,
    copies: Iterable[tuple[Entry, str]],
    places: Mapping[str, str],
) -> None:
    """Add further copies on the target (entry of the source object, id of the copy); ``places`` are their names."""
    try:
        for entry, copy in copies:
            names = "names it as its source" if entry.kind in ("run", "model_version") else "is a copy of it"
            why = f"its copy is {entry.target_id}, and the {entry.kind.replace('_', ' ')} {copy} {names} too"
            place = places.get(entry.place, "")
            outcome.doubled.append(Unmoved(entry.kind, entry.source_id, entry.name, place, "double", why, ""))
    except ReadError as error:
        why = f"whether anything is on the target more than once cannot be told: {error}"
        outcome.unmoved.append(Unmoved("server", "", "", "", "failed", why, retry_command(settings, step)))


def with_disabled(outcome: Outcome, settings: Settings, step: str, count: Callable[[], int]) -> Outcome:
    """Return the outcome with the number of webhooks that wait for somebody to enable them."""
    try:
        # the export is enough for that
        enable = retry_command(replace(settings, source=None, enable_webhooks=True), "import")
        return replace(outcome, disabled=count(), enable=enable)
    except ReadError as error:
        why = f"whether webhooks are disabled cannot be told: {error}"
        outcome.unmoved.append(Unmoved("server", "", "", "", "failed", why, retry_command(settings, step)))
        return outcome


_WAITING = {True: "it was not begun", False: "it is on the target in part"}


def _fate(entry: Entry | None) -> Fate:
    return "waiting" if entry is None else _FATES.get(entry.state, "waiting")


def _with_entries(
    kind: str, objects: Iterator[tuple[str, str, str]], journal: Journal | None
) -> Iterator[tuple[str, str, str, Entry | None]]:
    """Yield each object with what the journal has of it; of large servers not all are in memory at once."""
    while some := list(islice(objects, _CHUNK)):
        entries = {} if journal is None else journal.some(kind, (one[0] for one in some))
        yield from ((*one, entries.get(one[0])) for one in some)


def _by_kind(
    snapshot: Snapshot, settings: Settings, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, Iterator[tuple[str, str, str]]]]:
    """Yield each kind with (source id, name, experiment's name) of its objects."""
    experiments = in_scope(settings, snapshot.experiments)
    yield "experiment", ((one.experiment_id, one.name, "") for one in experiments)

    def runs() -> Iterator[tuple[str, str, str]]:
        for experiment in experiments:
            view = snapshot.view(experiment)
            for key in view.run_keys() if view.problem("runs") is None else ():
                if settings.include_deleted or not key.deleted:
                    yield key.entity_id, key.name, experiment.name

    yield "run", runs()

    def inside(kind: str) -> Iterator[tuple[str, str, str]]:
        for experiment in experiments:
            objects = snapshot.objects(experiment.experiment_id)
            if objects.problem(KINDS[kind].part) is None:
                for key in objects.keys(kind):
                    yield key.entity_id, key.name, experiment.name

    def outside(kind: str) -> Iterator[tuple[str, str, str]]:
        objects = snapshot.objects(SERVER)
        if objects.problem(KINDS[kind].part) is None:
            for key in objects.keys(kind):
                registry = KINDS[kind].part == "registry"
                if wanted(key.container or key.entity_id) if registry else others_in_scope(settings):
                    yield key.entity_id, key.name, ""

    for kind in KINDS.values():
        yield kind.name, (inside if kind.family == "experiment" else outside)(kind.name)


# --- how to try again


def retry_command(settings: Settings, step: str) -> str:
    """Return the command line of a step with these settings, without any secret."""
    # files of a batch that was discarded are read again
    if step == "import" and settings.discard_export and settings.source is not None:
        step = "run"
    words = [*migrate_command().split(), step]
    if step != "import":
        words += _end("source", settings.source)
    if step != "export":
        words += _end("target", settings.target)
    words += ["--work-dir", str(settings.work)]
    # the audit writes it, which is red then
    words += ["--report", str(settings.reports / "report.json")] if step == "repair" else []
    for option, names in (("--experiments", settings.experiments), ("--models", settings.models)):
        words += [option, ",".join(names)] if names else []
    for place in settings.allow_place:
        words += [MIGRATE_OPTION, place]
    words += ["--rename", str(settings.rename)] if settings.rename is not None else []
    for option, wanted in (
        ("--include-deleted", settings.include_deleted),
        ("--discard-export", settings.discard_export),
        ("--into-existing", settings.into_existing),
        ("--accept-hidden", settings.accept_hidden),
        ("--enable-webhooks", settings.enable_webhooks),
    ):
        words += [option] if wanted else []
    return shlex.join(words)


def _end(side: str, location: Location | None) -> list[str]:
    if location is None:
        return []
    return [location.option(side), location.address]


# --- how it is told


def outcome_text(outcome: Outcome, redact: Redactor, file: Path | None = None, alone: int = 0) -> list[str]:
    """Return the lines for the terminal: counts, what was not moved, how to try again.

    ``alone``: objects that a repair left alone, which are named below.
    """
    moved = listed({plural_of(kind): count for kind, count in outcome.moved.items()})
    lines = [f"Migrated: {moved or 'nothing'}"]
    if outcome.noted:
        lines.append(f"Moved but for what the contract lets differ: {len(outcome.noted):,}")
        lines += [_told(one) for one in outcome.noted[:_SHOWN]]
        if len(outcome.noted) > _SHOWN:
            lines.append(f"  and {len(outcome.noted) - _SHOWN:,} more" + (f", all in {file}" if file else ""))
    if outcome.doubled:
        lines.append(f"On the target more than once: {len(outcome.doubled):,}")
        lines += [_told(one) for one in outcome.doubled[:_SHOWN]]
        if len(outcome.doubled) > _SHOWN:
            lines.append(f"  and {len(outcome.doubled) - _SHOWN:,} more" + (f", all in {file}" if file else ""))
        lines.append(
            "This migration did not make the further copies: another one, with a work folder of its own, wrote to the "
            "target. Delete what it made, or start again with an empty target; the audit names each as duplicate."
        )
        if not outcome.unmoved:
            return [visible(redact(line)) for line in lines]
    if outcome.by_hand:
        lines.append(f"Not moved, as no tool can, so make it by hand on the target: {sentence(outcome.by_hand)}")
    if outcome.disabled:
        s, them = ("", "it") if outcome.disabled == 1 else ("s", "them")
        lines.append(
            f"Written, but disabled: {outcome.disabled:,} webhook{s}. Set the secret{s} on the target, then enable "
            f"{them}: {outcome.enable}"
        )
    if not outcome.unmoved:
        end = "Everything else was migrated." if outcome.by_hand else "Nothing was left behind."
        if alone:
            verb = "is" if alone == 1 else "are"
            end = f"Everything but {counted(alone, 'objects')} that {verb} left alone, see below."
        return [visible(redact(line)) for line in [*lines, end]]
    lines.append(f"Not moved: {len(outcome.unmoved):,}")
    lines += [_told(one) for one in outcome.unmoved[:_SHOWN]]
    if len(outcome.unmoved) > _SHOWN:
        rest = f"  and {len(outcome.unmoved) - _SHOWN:,} more"
        lines.append(rest + (f", all in {file}" if file is not None else ""))
    for retry, what in _retries(outcome.unmoved):
        lines.append(f"To try again {what}: {retry}")
    stuck = sum(one.fate == "unmovable" for one in outcome.unmoved)
    if stuck:
        lines.append(
            f"{stuck:,} cannot be written through MLflow's API: move what matters by hand, and waive the rest in the "
            "audit (`mlflow-parity waive`)."
        )
    return [visible(redact(line)) for line in lines]


def _told(one: Unmoved) -> str:
    where = f" of experiment {one.place!r}" if one.place else ""
    identity = f" ({one.source_id})" if one.source_id and one.source_id != one.name else ""
    return f"  {one.fate}: {one.kind.replace('_', ' ')} {one.name!r}{identity}{where}: {one.reason}"


def _retries(unmoved: Sequence[Unmoved]) -> list[tuple[str, str]]:
    """Return each command once, with what it is for."""
    found: dict[str, Counter[str]] = {}
    for one in unmoved:
        if one.retry:
            found.setdefault(one.retry, Counter())[one.fate] += 1
    return [(retry, ", ".join(f"{n:,} {fate}" for fate, n in counts.items())) for retry, counts in found.items()]


def write_outcome(outcome: Outcome, settings: Settings, step: str, path: Path, redact: Redactor) -> None:
    """Write everything to a JSON file, at once or not at all."""
    ends = {"source": settings.source, "target": settings.target}
    kinds = list(dict.fromkeys([*outcome.moved, *(one.kind for one in outcome.unmoved)]))
    left = Counter(one.kind for one in outcome.unmoved)
    document: dict[str, Any] = {
        "format": _FORMAT,
        "version": 1,
        "step": step,
        "status": outcome.status,
        **{side: None if location is None else location.display for side, location in ends.items()},
        "counts": {kind: {"moved": outcome.moved[kind], "unmoved": left[kind]} for kind in kinds},
        "by_hand": outcome.by_hand,
        "webhooks_disabled": outcome.disabled,
        "unmoved": [{key: redact(value) for key, value in asdict(one).items()} for one in outcome.unmoved],
        "doubled": [{key: redact(value) for key, value in asdict(one).items()} for one in outcome.doubled],
        "noted": [{key: redact(value) for key, value in asdict(one).items()} for one in outcome.noted],
    }
    write_file(path, (json_safe(json.dumps(document, indent=1, ensure_ascii=False)) + "\n").encode())
