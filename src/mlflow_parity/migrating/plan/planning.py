"""``plan``: what would move, how long it may take, what will differ and what cannot be moved; nothing is touched."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_parity.audit.renames import Renames
from mlflow_parity.core.local.files import make_folder
from mlflow_parity.core.local.files import write as write_file
from mlflow_parity.core.notice import Notice, notices_json
from mlflow_parity.core.notice import notices_text as notices_text
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.scope import EXPORT_IMPORT
from mlflow_parity.core.text import counted, crop, json_safe, listed, short, table, visible
from mlflow_parity.kinds import KINDS, plural_of
from mlflow_parity.kinds.rules.contract import RULES
from mlflow_parity.kinds.schema.base import Rule
from mlflow_parity.migrating.known_losses import UNMOVABLE, Unmovable
from mlflow_parity.migrating.plan.ends import Checked
from mlflow_parity.migrating.plan.estimating import Moving, moving
from mlflow_parity.migrating.plan.preflight import preflight
from mlflow_parity.migrating.plan.workdir_guard import free_bytes, in_units, needed_bytes
from mlflow_parity.migrating.settings import Settings
from mlflow_parity.migrating.survey import Extent, Survey

if TYPE_CHECKING:
    from mlflow_parity.migrating.journal import Journal

#: Experiments that the terminal shows, the largest first; the file has all.
_SHOWN = 40
_NAME = 44
#: Things that no request writes which the terminal names, and columns of a line.
_UNMOVED, _COLUMNS = 5, 100
_FORMAT = "mlflow-parity-plan"
#: Rules for what only the plain tool or a repair changes, and for objects that no import made.
_NOT_OURS = frozenset(
    {"run.times.start", "run.times.end", "run.user.import", "model_version.number.import", "run.presence.replaced"}
)
_NOT_MADE = (".not-created", ".untagged")


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done. ``rules`` are those of the contract by which something may differ."""

    settings: Settings
    checked: Checked
    rules: tuple[Rule, ...] = ()
    unmovable: tuple[Unmovable, ...] = ()

    @property
    def survey(self) -> Survey | None:
        """What the source holds; ``None`` when it could not be looked at."""
        return self.checked.survey

    @property
    def moving(self) -> Moving | None:
        """What the migration takes; ``None`` when that could not be estimated."""
        survey, probed = self.checked.survey, self.checked.probed
        return None if survey is None or probed is None else moving(survey, probed)

    @property
    def status(self) -> int:
        """Exit status: 0 when nothing stands in the way, else 2, as ``run`` would end."""
        return 2 if self.checked.blocked else 0


def plan(
    settings: Settings,
    *,
    renames: Renames,
    journal: Journal | None = None,
    free: Callable[[Path], int] = free_bytes,
    standing: Sequence[Notice] = (),
) -> Plan:
    """Look at both ends by reads alone."""
    checked = preflight(settings, renames=renames, journal=journal, write=False, free=free, standing=standing)
    if checked.survey is None:
        return Plan(settings, checked)
    kinds = kinds_at_hand(checked.survey)
    return Plan(settings, checked, differing(kinds), tuple(one for one in UNMOVABLE if one.kind in kinds))


def kinds_at_hand(survey: Survey) -> tuple[str, ...]:
    """Return the kinds of which there are objects, in the order of the contract."""
    return tuple(kind for kind in ("experiment", "run", *KINDS) if survey.count(kind))


def differing(kinds: Sequence[str]) -> tuple[Rule, ...]:
    """Return the contract's rules by which objects of these kinds may differ after a migration by ``migrate``."""
    return tuple(
        rule
        for rule in RULES
        if rule.kind in kinds
        and rule.treatment in ("expected", "not compared")
        and EXPORT_IMPORT[0] in rule.profiles
        and rule.id not in _NOT_OURS
        and not rule.id.endswith(_NOT_MADE)
    )


# --- how it is told


def plan_text(found: Plan, redact: Redactor, file: Path) -> list[str]:
    """Return the lines for the terminal: what stands in the way, what would move, and in ten lines what stays behind.

    ``file`` has the plan whole.
    """
    lines = ["What stands in the way" if found.checked.blocked else "What was found"]
    lines += notices_text(found.checked.found, redact)
    told: list[str] = []
    if found.survey is not None:
        told += ["", "What would move", *_table(found.survey), *_totals(found, found.survey)]
    if found.rules or found.unmovable:
        told += [
            "",
            "What stays behind or differs afterwards, where the source has it, by the contract (docs/contract.md)",
        ]
        told += [*_unmoved(found.unmovable), *_differing(found.rules), f"  each with its reason: {file}"]
    return lines + [visible(redact(line)) for line in told]


def _unmoved(unmovable: Sequence[Unmovable]) -> list[str]:
    """Name what no request of MLflow writes: first what the audit reports or cannot see."""
    worst = [one for one in unmovable if not one.is_expected]
    shown = worst[:_UNMOVED]
    lines = [f"  {one.kind.replace('_', ' ')}: {one.what} ({one.verdict})" for one in shown]
    left = len(unmovable) - len(shown)
    return lines + ([f"  and {counted(left, 'more things')} that no request writes"] if left else [])


def _differing(rules: Sequence[Rule]) -> list[str]:
    """Say in a line or two of how many rules the audit will make use, by kind: ids, times and what servers make."""
    kinds = Counter(plural_of(rule.kind) for rule in rules)
    if not kinds:
        return []
    told = f"what servers make by themselves (ids, times, …) may differ: {counted(len(rules), 'rules')} of the contract"
    every = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
    return textwrap.wrap(
        f"{told} ({every})",
        _COLUMNS,
        initial_indent="  ",
        subsequent_indent="    ",
        max_lines=4,
        placeholder=" …",
    )


def _table(survey: Survey) -> list[str]:
    extents = sorted(survey.extents.values(), key=lambda one: (-one.size, -one.points, -one.runs, one.experiment.name))
    head = ("experiment", "runs", "metrics", "points ≤", "files", "size", "models", "traces", "scorers")
    rows: list[tuple[str, ...]] = [head, *(_row(one) for one in extents[:_SHOWN])]
    lines = table(rows)
    if len(extents) > _SHOWN:
        lines.append(f"  and {len(extents) - _SHOWN:,} smaller experiments")
    return lines


def _row(one: Extent) -> tuple[str, ...]:
    deleted = " (deleted)" if one.experiment.lifecycle_stage == "deleted" else ""
    objects = (f"{one.objects[kind]:,}" for kind in ("logged_model", "trace", "scorer"))
    name = crop(visible(one.experiment.name), _NAME) + deleted
    return name, f"{one.runs:,}", f"{one.series:,}", short(one.points), f"{one.files:,}", in_units(one.size), *objects


def _totals(found: Plan, survey: Survey) -> list[str]:
    left = survey.left
    counts = listed({plural_of(kind): survey.count(kind) for kind in kinds_at_hand(survey)})
    return [
        f"In all: {counts or 'nothing'}; files of {in_units(survey.size)}",
        f"Disk: the export needs about {in_units(needed_bytes(found.settings, survey))} in {found.settings.work}",
        *([f"S3: files of {in_units(left)} stay there, and are copied by S3 itself where it does"] if left else []),
        *(["Time: not estimated, as the source could not be probed"] if found.moving is None else found.moving.lines),
    ]


def write_plan(found: Plan, path: Path, redact: Redactor) -> None:
    """Write the plan to a JSON file, at once or not at all."""
    document = plan_document(found, redact)
    make_folder(path.parent)
    write_file(path, (json_safe(json.dumps(document, indent=1, ensure_ascii=False)) + "\n").encode())


def plan_document(found: Plan, redact: Redactor) -> dict[str, Any]:
    """Return all of the plan as plain values, without secrets."""
    settings, survey = found.settings, found.survey
    ends = {"source": settings.source, "target": settings.target}
    document: dict[str, Any] = {
        "format": _FORMAT,
        "version": 1,
        "status": found.status,
        **{side: None if location is None else location.display for side, location in ends.items()},
        "versions": found.checked.versions,
        "findings": notices_json(found.checked.found, redact),
        "rules": [
            {"id": rule.id, "field": rule.field, "reason": rule.reason, "when": rule.when} for rule in found.rules
        ],
        "unmovable": [asdict(one) for one in found.unmovable],
    }
    if survey is not None:
        document["estimate"] = {"disk": needed_bytes(settings, survey)}
        if found.moving is not None:
            document["estimate"] |= {
                "seconds": round(found.moving.seconds),
                "read": {"requests": found.moving.read, "bytes": found.moving.read_bytes},
                "written": {"requests": found.moving.written, "bytes": found.moving.written_bytes},
                "missed": [redact(one) for one in found.moving.missed],
            }
        document["counts"] = {kind: survey.count(kind) for kind in kinds_at_hand(survey)}
        document["experiments"] = [
            {
                "id": one.experiment.experiment_id,
                "name": redact(one.experiment.name),
                "runs": one.runs,
                "metrics": one.series,
                "points": one.points,
                "files": one.files,
                "size": one.size,
                "objects": dict(one.objects),
            }
            for one in survey.extents.values()
        ]
    return document
