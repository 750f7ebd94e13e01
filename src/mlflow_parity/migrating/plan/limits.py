"""What a server of some version would refuse or cut: its limits as data, and who breaks them.

The limits are those of ``mlflow.utils.validation`` in 2.16, 2.22, 3.4, 3.10 and 3.17; between two of them the smaller
one counts, and where the version is not known the smallest.
"""

from __future__ import annotations

import ipaddress
import json
import posixpath
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from mlflow_parity.core.notice import NAMED, Notice, named
from mlflow_parity.core.records import Entity, Experiment, Run
from mlflow_parity.core.text import taken_for_one
from mlflow_parity.kinds.conventions.logged_images import newer_names
from mlflow_parity.migrating.survey import Survey
from mlflow_parity.reading.artifacts.stores import is_faithful

_KEY = re.compile(r"[/\w.\- :]*")
_WEBHOOK = re.compile(r"(?=.{1,63}$)[a-z0-9]([a-z0-9._-]*[a-z0-9])?", re.IGNORECASE)
_LOGGED = ("/", ":", ".", "%", '"', "'")
#: Stands for the folder of a run's files.
_RUN = "r"
_NAME_TAG = "mlflow.runName"
_LONGEST_KEY, _LONGEST_NAME, _PARAM, _TRACE_TAG = 250, 500, 6_000, 8_000
_DATASET_NAME, _DATASET_DIGEST, _ALIAS = 500, 36, 255
#: Lengths of the columns in MLflow's database; SQLite does not mind, PostgreSQL and MySQL do.
_NAME_COLUMN, _RUN_NAME_COLUMN = 256, 250


@dataclass(frozen=True, slots=True)
class Limits:
    """Longest values in characters; ``strict_names``: names of registered models with ``/`` or ``:`` are refused."""

    run_tag: int
    experiment_tag: int
    registry_tag: int
    strict_names: bool


def limits_of(version: tuple[int, int]) -> Limits:
    """Return the limits of a release (major, minor); (0, 0): not known."""
    return Limits(
        run_tag=8_000 if version >= (2, 22) else 5_000,
        experiment_tag=20_000 if version >= (3, 17) else 5_000,
        registry_tag=100_000 if version >= (3, 4) else 5_000,
        strict_names=version >= (3, 17),
    )


#: What is said of names, and of keys, that a MySQL or MariaDB target takes for one; whether it is one no server tells.
ALIKE = "that a MySQL or MariaDB target takes for one"
ALIKE_WHY = "the collation that it comes with tells neither case nor accents nor blanks at the end apart"
ALIKE_FIX = "nothing on SQLite, PostgreSQL or SageMaker; else create the target's database with COLLATE utf8mb4_bin"
_LISTED = "the rest is moved; each is listed at the end"
#: ``code``, ``what`` and ``why`` are completed by what is found.
_RULES = (
    Notice(
        "error", "experiment-name",
        "names of experiments that the target refuses", f"at most {_LONGEST_NAME} characters",
        "give new names with --rename",
    ),
    Notice(
        "error", "model-name", "names of registered models or prompts that the target refuses",
        "since MLflow 3.17 they hold neither '/' nor ':'", "give new names with --rename",
    ),
    Notice(
        "warning", "long-name",
        "long names", f"on PostgreSQL and MySQL those of experiments and models have {_NAME_COLUMN} "
        f"characters at most, those of runs {_RUN_NAME_COLUMN}", "give new names with --rename, or a target on SQLite",
    ),
    Notice("warning", "param-value", "values of params that the target cuts", f"{_PARAM:,} characters", _LISTED),
    Notice("warning", "run-tag", "values of runs' tags that the target cuts", "{run_tag:,} characters", _LISTED),
    Notice(
        "warning", "experiment-tag",
        "values of experiments' tags that the target refuses", "{experiment_tag:,} characters", _LISTED
    ),
    Notice(
        "warning", "registry-tag", "values of registry tags, or templates of prompts, that the target refuses",
        "{registry_tag:,} characters", _LISTED,
    ),
    Notice(
        "warning", "trace-tag",
        "values of traces' tags that the target cuts", f"{_TRACE_TAG:,} characters", _LISTED
    ),
    Notice(
        "warning", "key", "keys of params, metrics or tags that the target refuses",
        f"at most {_LONGEST_KEY} letters, digits and any of /_.- : and blanks, and a plain path", _LISTED,
    ),
    Notice(
        "warning", "dataset-input", "dataset inputs that the target refuses",
        f"names of at most {_DATASET_NAME} characters, digests of {_DATASET_DIGEST}", _LISTED,
    ),
    Notice(
        "warning", "logged-model-name",
        "names of logged models that the target refuses", f"they hold none of {' '.join(_LOGGED)}", _LISTED
    ),
    Notice("warning", "alias", "aliases that the target refuses", f"at most {_ALIAS} characters", _LISTED),
    Notice(
        "warning", "webhook", "webhooks that the target may refuse",
        "a name has at most 63 letters, digits and any of ._-; newer servers call public https:// addresses only",
        "let the target's MLFLOW_WEBHOOK_ALLOWED_SCHEMES and MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS allow them",
    ),
    Notice(
        "warning", "file-name", "files that the target's artifact proxy would store under another name",
        "it takes # and %xx in a path for something else",
        "rename them at the source, or give a target with an S3 root; " + _LISTED,
    ),
    Notice(
        "warning", "run-name", "runs whose tag mlflow.runName is not their name", "MLflow keeps the two equal",
        "nothing: the original is kept in mlflow_exim.mlflow_tag.runName, and the audit expects it",
    ),
    Notice(
        "warning", "status-message", "logged models with a message of their status", "no request of MLflow writes one",
        "note it in a tag where it matters; the audit expects it",
    ),
    Notice(
        "warning", "version-status", "model versions that are not READY, or have a message of their status",
        "MLflow's API makes versions READY",
        "nothing: the original is kept in mlflow_exim.field.status, and the audit expects it",
    ),
    Notice(
        "warning", "deleted-metrics",
        "logged models with metrics that a deleted run logged", "they are written through their run",
        "add --include-deleted",
    ),
    Notice("warning", "alike-keys", f"objects with keys {ALIKE}", ALIKE_WHY, ALIKE_FIX),
    Notice(
        "warning", "nul",
        "texts with a NUL character", "PostgreSQL cannot hold it", "use a target on SQLite, or " + _LISTED
    ),
)  # fmt: skip


class Oddities:
    """Collects what a target would refuse or cut, object by object; safe to use from many threads.

    ``proxied``: the target stores artifacts through its own proxy. Only the first names of each sort are kept.
    """

    def __init__(self, limits: Limits, *, proxied: bool) -> None:
        self._limits = limits
        self._proxied = proxied
        self._lock = threading.Lock()
        self._names: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}

    def found(self, *, of_target: bool = True) -> list[Notice]:
        """Return one finding per sort; ``of_target`` false: there is none yet, and only what holds for any is said."""
        limits = {name: getattr(self._limits, name) for name in ("run_tag", "experiment_tag", "registry_tag")}
        return [
            replace(
                rule,
                code=f"limit.{rule.code}",
                what=f"{count:,} {rule.what}: {named(self._names[rule.code], count)}",
                why=rule.why.format(**limits),
            )
            for rule in _RULES
            if (count := self._counts.get(rule.code)) and (of_target or rule.code == "alike-keys")
        ]

    def _note(self, code: str, name: str) -> None:
        with self._lock:
            self._counts[code] = self._counts.get(code, 0) + 1
            names = self._names.setdefault(code, [])
            if len(names) < NAMED:
                names.append(name)

    # --- what is looked at

    def experiment(self, experiment: Experiment, new_name: str) -> None:
        """Look at an experiment, and at the name that it is to have."""
        if len(new_name) > _LONGEST_NAME:
            self._note("experiment-name", experiment.name)
        elif len(new_name) > _NAME_COLUMN:
            self._note("long-name", f"experiment {experiment.name}")
        self._texts(f"experiment {experiment.name}", [new_name])
        self._alike(f"experiment {experiment.name}", tag=experiment.tags)
        self._tags(f"experiment {experiment.name}", experiment.tags, "experiment-tag", self._limits.experiment_tag)

    def run(self, run: Run, experiment: str) -> None:
        """Look at a run of an experiment."""
        where = f"{experiment} / {run.name or run.run_id}"
        if run.name and run.tags.get(_NAME_TAG, run.name) != run.name:
            self._note("run-name", where)
        if len(run.name) > _RUN_NAME_COLUMN:
            self._note("long-name", where)
        self._tags(where, run.tags, "run-tag", self._limits.run_tag)
        self._tags(where, run.params, "param-value", _PARAM, "param")
        self._alike(where, tag=run.tags, param=run.params, metric=run.metrics)
        for key in run.metrics:
            self._key(f"{where} / metric {key}", key)
        for one in run.inputs:
            if len(one.name) > _DATASET_NAME or len(one.digest) > _DATASET_DIGEST:
                self._note("dataset-input", f"{where} / dataset {one.name}")

    def entity(self, entity: Entity, new_name: str | None = None) -> None:
        """Look at any other object; ``new_name`` is given for registered models and prompts."""
        kind, facets = entity.kind, entity.facets
        where = f"{kind.replace('_', ' ')} {entity.name}"
        tags = facets.get("tags") or {}
        points = facets.get("metrics") if kind == "logged_model" else None
        self._alike(
            where,
            tag=tags,
            alias=facets.get("aliases") or (),
            param=facets.get("params") or (),
            metadata=facets.get("metadata") or (),
            metric=[str(point.get("key")) for point in points or ()],
        )
        status = facets.get("status") if kind in ("logged_model", "model_version") else None
        if status and kind == "logged_model" and status.get("message"):
            self._note("status-message", entity.name)
        if status and kind == "model_version" and (status.get("status") != "READY" or status.get("message")):
            self._note("version-status", entity.name)
        if kind in ("registered_model", "prompt") and new_name is not None:
            bad = any(letter in new_name for letter in "/:") or not new_name.strip() or _not_unique(new_name)
            if self._limits.strict_names and bad:
                self._note("model-name", entity.name)
            elif len(new_name) > _NAME_COLUMN:
                self._note("long-name", where)
            for alias in facets.get("aliases") or {}:
                if len(alias) > _ALIAS:
                    self._note("alias", f"{where} / {alias}")
        if kind in ("registered_model", "prompt", "model_version", "prompt_version"):
            self._tags(where, tags, "registry-tag", self._limits.registry_tag)
        elif kind == "logged_model":
            if any(letter in entity.name for letter in _LOGGED):
                self._note("logged-model-name", entity.name)
            self._tags(where, tags, "run-tag", self._limits.run_tag)
            self._tags(where, facets.get("params") or {}, "param-value", _PARAM, "param")
        elif kind == "trace":
            self._tags(where, tags, "trace-tag", _TRACE_TAG)
        elif kind == "webhook" and not _webhook_taken(entity):
            self._note("webhook", entity.name)
        template = facets.get("template")
        if template is not None:
            text = template if isinstance(template, str) else json.dumps(template)
            if len(text) > self._limits.registry_tag:
                self._note("registry-tag", f"{where} / template")
            self._texts(where, [text])

    def deleted_metrics(self, name: str) -> None:
        """Note a logged model with metrics of a run that is not moved because it is deleted."""
        self._note("deleted-metrics", name)

    def files(self, root: str, owner: str, paths: Iterable[str]) -> None:
        """Look at the files of an owner; ``root`` stands for the folder that they will be in."""
        paths = list(paths) if self._proxied else ()
        names = newer_names(paths) if root == _RUN else {}
        for path in paths:
            path = names.get(path, path)
            if not is_faithful(posixpath.join(root, path)):
                self._note("file-name", f"{owner} / {path}")

    # --- how

    def _tags(self, where: str, tags: Mapping[str, str], code: str, longest: int, what: str = "tag") -> None:
        for key, value in tags.items():
            self._key(f"{where} / {what} {key}", key)
            if len(value) > longest:
                self._note(code, f"{where} / {what} {key}")
        self._texts(where, tags.values())

    def _alike(self, where: str, **keys: Iterable[str]) -> None:
        for what, given in keys.items():
            for group in taken_for_one(given):
                self._note("alike-keys", f"{where} / {what} {' = '.join(group)}")

    def _texts(self, where: str, values: Iterable[str]) -> None:
        if any("\0" in value for value in values):
            self._note("nul", where)

    def _key(self, where: str, key: str) -> None:
        if len(key) > _LONGEST_KEY or not _KEY.fullmatch(key) or _not_unique(key):
            self._note("key", where)


def _not_unique(name: str) -> bool:
    normal = posixpath.normpath(name)
    return normal != name or normal == "." or normal.startswith(("..", "/"))


def _webhook_taken(webhook: Entity) -> bool:
    try:
        parts = urlsplit(str(webhook.facets.get("url") or ""))
        host = parts.hostname or ""
    except ValueError:
        return False
    try:
        public = ipaddress.ip_address(host).is_global
    except ValueError:
        public = host not in ("", "localhost")
    return bool(_WEBHOOK.fullmatch(webhook.name)) and parts.scheme == "https" and public


def unwritten(survey: Survey, *, holds_webhooks: bool = True, enable_webhooks: bool = False) -> list[Notice]:
    """Refuse a source of which only one workspace would be moved; name what has to be made by hand."""
    found = []
    if secrets := survey.count("gateway_secret"):
        what = f"the source has {secrets:,} gateway secret{'s' * (secrets > 1)}"
        why = "no server exposes their values, and model definitions, endpoints and guardrails need them"
        fix = "make them on the target by hand, under the same names; what needs them comes then, or with the next run"
        found.append(Notice("warning", "source.secrets", what, why, fix))
    if holds_webhooks and (hooks := survey.count("webhook")):
        what = f"the source has {hooks:,} webhook{'s' * (hooks > 1)}, written last"
        what += ", with the status that each has on the source" if enable_webhooks else ", and disabled"
        why = "no server exposes their secrets: an active one sends unsigned events"
        fix = "" if enable_webhooks else "set their secrets on the target, then run again with --enable-webhooks"
        found.append(Notice("note", "source.webhooks", what, why, fix))
    if others := survey.count("workspace"):
        what = f"the source has {others:,} workspace{'s' * (others > 1)} beside the default one"
        fix = "move the runs of each by way of a server without workspaces, or with another tool"
        found.append(Notice("error", "source.workspaces", what, "a migration moves the default workspace only", fix))
    return found
