"""What an audit is about: the objects of both sides that are in scope, paired by experiment, and the items of tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase

from mlflow_parity.audit.limits import SCOPE_ITEM
from mlflow_parity.audit.settings import Settings
from mlflow_parity.audit.side import SIDES, Side
from mlflow_parity.audit.test_items import NONE, Item, family_items, item_ids, plain_name
from mlflow_parity.audit.waivers.waivers import Waiver
from mlflow_parity.comparing.unpaired import is_default
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.records import Experiment
from mlflow_parity.core.scope import fits, in_scope
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds import FILES, SCOPE_KIND, family_of
from mlflow_parity.kinds.rules.check_registry import Selection
from mlflow_parity.kinds.schema.base import Family
from mlflow_parity.pairing.by_kind import ExperimentPair, ExperimentPairing, pair_experiments, same_experiments
from mlflow_parity.pairing.relocation import Relocation, find
from mlflow_parity.reading.transport.auth import SideName

#: Names that are offered in place of one that nothing has.
_NEAREST = 3
_NAMED: tuple[Family, ...] = ("model", "prompt")
#: Kinds beside experiments whose objects name runs, experiments or logged models.
_LINKING = ("model_version", "evaluation_dataset", "issue", "review_queue", "gateway_endpoint", "gateway_guardrail")


@dataclass(slots=True)
class Selected:
    """The selected items, with what they stand for."""

    sources: list[tuple[Item, Experiment, ExperimentPair | None]] = field(default_factory=list)
    surplus: list[tuple[Item, Experiment, str, State]] = field(default_factory=list)
    others: list[Item] = field(default_factory=list)
    """Registered models, prompts and the server."""
    gone: list[Item] = field(default_factory=list)
    """What was on the target only when the report was made that is rechecked, and is not any more."""
    linked: list[tuple[Experiment, ExperimentPair | None]] = field(default_factory=list)
    """Every experiment that is read: the selected ones, or all in scope where links lead to any."""


def _nearest(pattern: str, names: Sequence[str]) -> str:
    """Say which names come nearest to one that nothing has, and how to see them all."""
    near = get_close_matches(pattern, names, _NEAREST, 0.3) or sorted(names)[:_NEAREST]
    told = f"the nearest of {len(names):,}: {', '.join(map(repr, near))}" if near else "there is none at all"
    return f"{told}; the same command with --collect-only -q lists what is in scope"


class Scope:
    """Lists both sides and says what of them is looked at."""

    def __init__(self, settings: Settings, sides: Mapping[SideName, Side]) -> None:
        self.settings = settings
        self._sides = sides
        self.pairing = ExperimentPairing()
        self.copies: dict[str, str] = {}
        """Target ids of paired experiments by source ids, those out of scope included."""
        self.moved = Relocation()
        self.items: tuple[Item, ...] = ()
        self._unwanted: set[str] = set()
        self._present: dict[Family, set[str]] = {}
        """What the target has, by its plain name, as far as it could be listed."""
        self._apart: ExperimentPair | None = None
        """The two Default experiments, where that of the source is deleted and out of scope."""

    def take(self, *, check_patterns: bool = True) -> tuple[Item, ...]:
        """List and pair the experiments of both sides; return the items that tests are made of.

        ``check_patterns=False``: patterns that match nothing are no error, as where only a part of a side is there.

        Raises:
            UsageProblem: when the source has nothing in scope or a pattern matches nothing.
            ReadError: when a side cannot be listed.
        """
        with ThreadPoolExecutor(2) as pool:
            listed = {name: pool.submit(self._sides[name].experiments) for name in SIDES}
            source, target = listed["source"].result(), listed["target"].result()
        same = self.settings.profile == "same-store"
        pair_all = same_experiments if same else pair_experiments
        pairing = pair_all(source, target)
        if self._in_scope([*pairing.missing, *(one for one, _ in pairing.extra)]):
            # an eventually consistent list, or an experiment made in between: look once more
            source, target = (self._sides[name].experiments(again=True) for name in SIDES)
            pairing = pair_all(source, target)
        if same:
            self.moved = find((pair.source.artifact_location, pair.target.artifact_location) for pair in pairing.pairs)
        if check_patterns:
            self._check_patterns(source, target)
        self.copies = {pair.source.experiment_id: pair.target.experiment_id for pair in pairing.pairs}
        deleted = self.settings.include_deleted
        # every target has one, active and empty, without any doing of the migration: it is judged by itself
        self._apart = None if same or deleted else next(filter(_is_default_apart, pairing.pairs), None)
        extra = [one for one, _ in pairing.extra]
        self.pairing = ExperimentPairing(
            pairs=[
                pair
                for pair in pairing.pairs
                if self.names(pair.source.name)
                and (deleted or not (is_deleted(pair.source) and is_deleted(pair.target)))
                and pair is not self._apart
            ],
            missing=self._in_scope(pairing.missing),
            extra=[(one, "") for one in self._in_scope(extra if self._apart is None else [*extra, self._apart.target])],
            duplicates=[
                pair
                for pair in pairing.duplicates
                if self.names(pair.source.name) and (deleted or not is_deleted(pair.target))
            ],
        )
        sources = [pair.source for pair in self.pairing.pairs] + self.pairing.missing
        surplus = [pair.target for pair in self.pairing.duplicates] + [one for one, _ in self.pairing.extra]
        self._present["experiment"] = {plain_name(item.name) for item in target if deleted or not is_deleted(item)}
        others = self._other_items(check_patterns)
        # much hangs on no experiment, and a server may well have nothing else: what it has of that is known once read
        held = any(item.family not in _NAMED or (item.id != NONE and not item.surplus) for item in others)
        if not sources and (self.settings.experiments or self.settings.exclude_experiments or not held):
            place = self._sides["source"].location
            raise UsageProblem(
                f"the source ({place.display}) has no experiment in scope; an empty source proves nothing: check "
                f"{place.option('source')}, --parity-experiments and --parity-exclude-experiments"
            )
        self.items = item_ids(sources, surplus) + others + (SCOPE_ITEM,)
        if self.settings.recheck is not None:
            self.items += self.settings.recheck.gone(self._present)
        return self.items

    @property
    def has_sources(self) -> bool:
        """Whether any experiment of the source is in scope."""
        return bool(self.pairing.pairs or self.pairing.missing)

    def _other_items(self, check_patterns: bool) -> tuple[Item, ...]:
        """Items of the families that hang on no experiment.

        When only some experiments are in scope there are none, but for what ``--parity-models`` names.
        """
        if self.settings.experiments and not self.settings.models:
            return ()
        with ThreadPoolExecutor(2) as pool:
            listed = {name: pool.submit(self._sides[name].names) for name in SIDES}
            ours, theirs = listed["source"].result(), listed["target"].result()
        items: tuple[Item, ...] = ()
        for family in _NAMED:
            mine, copies = (self._registered(side[family]) for side in (ours, theirs))
            if family not in self._sides["target"].unlisted:
                self._present[family] = {plain_name(name) for name in theirs[family]}
            if mine or copies or not self.settings.models:
                items += family_items(family, mine, copies)
        for pattern in self.settings.models if check_patterns else ():
            names = [name for family in _NAMED for name in ours[family]]
            if not any(fits(name, [pattern]) for name in names):
                raise UsageProblem(
                    f"--parity-models: no registered model or prompt of the source matches {pattern!r}; "
                    f"{_nearest(pattern, names)}"
                )
        if self.settings.experiments:
            return items
        return (*items, Item("server", "", "", surplus=False, family="server"))

    def _registered(self, names: Iterable[str]) -> list[str]:
        """Return the names of registered models or prompts that are in scope; the others are remembered."""
        found = {name: self.is_wanted(name) for name in names}
        self._unwanted |= {name for name, wanted in found.items() if not wanted}
        return [name for name, wanted in found.items() if wanted]

    def is_wanted(self, name: str) -> bool:
        """Whether a registered model or prompt is in scope."""
        patterns = self.settings.models
        return fits(name, patterns) if patterns else not self.settings.experiments

    def names(self, name: str) -> bool:
        """Whether the options name an experiment."""
        return in_scope(name, self.settings.experiments, self.settings.exclude_experiments)

    def is_in(self, experiment: Experiment) -> bool:
        """Whether an experiment is in scope by itself; one that is deleted may be by its copy."""
        return self.names(experiment.name) and (self.settings.include_deleted or not is_deleted(experiment))

    def _in_scope(self, experiments: Sequence[Experiment]) -> list[Experiment]:
        return [item for item in experiments if self.is_in(item)]

    def _check_patterns(self, source: Sequence[Experiment], target: Sequence[Experiment]) -> None:
        # what is left out may be of the target alone
        for option, patterns, where, experiments in (
            ("--parity-experiments", self.settings.experiments, "the source", source),
            (
                "--parity-exclude-experiments",
                self.settings.exclude_experiments,
                "source and target",
                [*source, *target],
            ),
        ):
            for pattern in patterns:
                if not any(fits(experiment.name, [pattern]) for experiment in experiments):
                    raise UsageProblem(
                        f"{option}: no experiment of {where} matches {pattern!r}; "
                        f"{_nearest(pattern, [experiment.name for experiment in experiments])}"
                    )

    def selected(self, selection: Selection) -> Selected:
        """Return the experiments, and the other items, that the selected tests stand for."""
        chosen = set(selection.items)
        by_source = {pair.source.experiment_id: pair for pair in self.pairing.pairs}
        copies = {pair.target.experiment_id: pair.source.name for pair in self.pairing.duplicates}
        every = {name: {item.experiment_id: item for item in self._sides[name].experiments()} for name in SIDES}
        selected = Selected()
        for item in self.items:
            if item.key not in chosen or item.family == "scope":
                continue  # what limits an audit is looked at whatever was selected
            if item.gone:
                selected.gone.append(item)
                continue
            if item.family != "experiment":
                selected.others.append(item)
                continue
            if item.surplus:
                copy_of = copies.get(item.experiment_id)
                if self._apart is not None and item.experiment_id == self._apart.target.experiment_id:
                    note, kind = "the source's Default experiment is deleted", State.EXTRA
                elif copy_of is None:
                    note, kind = "no source experiment has its name or is named by its source tags", State.EXTRA
                else:
                    note, kind = f"a further copy of the source experiment {copy_of!r}", State.DUPLICATE
                selected.surplus.append((item, every["target"][item.experiment_id], note, kind))
            else:
                source = every["source"][item.experiment_id]
                selected.sources.append((item, source, by_source.get(item.experiment_id)))
        selected.linked = [(source, pair) for _, source, pair in selected.sources]
        if selected.others and any(selection.facets(name) for name in _LINKING):
            read = {source.experiment_id for source, _ in selected.linked}
            scope: list[tuple[Experiment, ExperimentPair | None]] = [(pair.source, pair) for pair in self.pairing.pairs]
            scope += [(source, None) for source in self.pairing.missing]
            selected.linked += [entry for entry in scope if entry[0].experiment_id not in read]
        return selected

    def looked_at(self, waiver: Waiver, selection: Selection) -> bool:
        """Whether all that a waiver could speak of was in scope, so that matching nothing means it is not needed."""
        if SCOPE_KIND in waiver.kinds:
            return True
        if any(waiver.facet not in selection.facets(kind) for kind in waiver.kinds):
            return False
        if self.settings.depth == "listing" and waiver.facet in ("artifacts", *FILES.values()):
            return False
        chosen = set(selection.items)
        read = {item.label for item in self.items if item.key in chosen}
        families = {family_of(kind) for kind in waiver.kinds}
        registry: set[Family] = {"model", "prompt"}
        left_out = {"experiment"} | (registry if self.settings.models else set())
        if self.settings.experiments and not families <= left_out:
            return False  # the option leaves the other families out, whatever they hold
        every = {item.label for item in self.items if item.family in families}
        if families & registry:
            every |= self._unwanted
        if "experiment" in families:
            limited = bool(self.settings.experiments or self.settings.exclude_experiments)
            names = [item.name for name in SIDES for item in self._sides[name].experiments()]
            every |= {name for name in names if limited and not self.names(name)}
        return not any(fnmatchcase(name, waiver.experiment) for name in every - read)


def is_deleted(experiment: Experiment) -> bool:
    """Whether an experiment is deleted, which hides its runs."""
    return experiment.lifecycle_stage == "deleted"


def _is_default_apart(pair: ExperimentPair) -> bool:
    """Whether two experiments are those that every server makes, and that of the source alone was deleted."""
    return is_default(pair.source) and is_default(pair.target) and is_deleted(pair.source) > is_deleted(pair.target)
