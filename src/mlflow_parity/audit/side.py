"""One side of the audit: a live server that is read into a snapshot, or a snapshot that stands for it."""

from __future__ import annotations

import functools
import re
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mlflow_parity.comparing.unknown import Told
from mlflow_parity.core.errors import ReadError, SnapshotError, UsageProblem
from mlflow_parity.core.local.files import make_folder
from mlflow_parity.core.locations import DEFAULT_WORKSPACE, VARIABLE, Location, given_path
from mlflow_parity.core.records import ArtifactTree, Entity, Experiment, MetricPoint, Run, Series
from mlflow_parity.core.scope import Depth, Evidence
from mlflow_parity.kinds import KINDS
from mlflow_parity.kinds.schema.base import Family
from mlflow_parity.reading import Reader
from mlflow_parity.reading.artifacts.trees import Sure
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.snapshot import FILES_PART, SERVER, ExperimentView, Part
from mlflow_parity.snapshot.capture import Count, capture, capture_objects
from mlflow_parity.snapshot.fresh import FreshView
from mlflow_parity.snapshot.moved import not_listed_again
from mlflow_parity.snapshot.origin import origin_of
from mlflow_parity.snapshot.schema import Asked
from mlflow_parity.snapshot.store import MANIFEST, PlaceObjects, Snapshot, SnapshotView
from mlflow_parity.snapshot.wanted import Wanted

SIDES: tuple[SideName, SideName] = ("source", "target")


class Side:
    """Source or target. ``reader`` is ``None`` when a snapshot stands for the server.

    ``renames`` is the SHA-256 (hex) of the file under whose names the reader reads; empty: under the server's own.

    Raises:
        UsageProblem: a snapshot holds other names than ``renames`` asks for.
        SnapshotError: it is none, unfinished or damaged.
    """

    def __init__(self, name: SideName, location: Location, reader: Reader | None, renames: str = "") -> None:
        self.name = name
        self.location = location
        self.reader = reader
        self.renames = renames
        self.resumed_parts = 0
        self.resumed_from: float | None = None
        """When the oldest part was read that an interrupted audit left and that was taken over."""
        self.unlisted: set[Family] = set()
        """Families whose names could not be listed."""
        self.is_kept = False
        """Whether its snapshot is for later audits too: it tells what moved on the server while it was read."""
        self._model_links = False
        self._wanted: Wanted | None = None
        self._snapshot = None
        if reader is None:
            self._snapshot = Snapshot.open(location.path)
            # before anything of it is used, and all of it: what is not asked for today may be damaged all the same
            self._snapshot.verify()
            self._check_names(self._snapshot.asked)
            self._check_workspace(self._snapshot.origin.workspace)
        self._experiments: list[Experiment] | None = None

    def _check_workspace(self, kept: str) -> None:
        wanted, kept = self.location.workspace, kept or DEFAULT_WORKSPACE
        if wanted and wanted != kept:
            raise UsageProblem(
                f"{self.location.display}: the {self.name}'s snapshot is of the workspace {kept}, not of {wanted}; "
                f"give that one's, or set {self.name.upper()}_{VARIABLE}={kept}"
            )

    def _check_names(self, asked: Asked | None) -> None:
        kept = "" if asked is None else asked.renames
        if kept == self.renames:
            return
        if not kept:
            raise UsageProblem("--parity-rename: a snapshot cannot be read under other names; give the target's server")
        fix = (
            "give that file with --parity-rename, or make the snapshot again"
            if self.name == "target"
            else "make it again"
        )
        raise UsageProblem(
            f"{self.location.display}: the {self.name}'s snapshot holds the names of a --parity-rename file (SHA-256 "
            f"{kept[:16]}…), not those of the server; {fix}"
        )

    @property
    def address(self) -> str:
        """The server's address without credentials, also where a snapshot stands for it."""
        return self.location.address if self.live else self.snapshot.origin.location.partition(" ")[0]

    @property
    def own_place(self) -> str:
        """Where its user has its files read instead of through the server; empty: nowhere."""
        if self.reader is None:
            return self.snapshot.origin.artifacts
        return self.reader.own_way.place if self.reader.own_way is not None else ""

    @property
    def live(self) -> bool:
        """Whether it is read from a server now."""
        return self.reader is not None

    @property
    def snapshot(self) -> Snapshot:
        """What was read; only after :meth:`read`, or when a snapshot was given."""
        if self._snapshot is None:
            raise RuntimeError("the side was not read yet")
        return self._snapshot

    def experiments(self, *, again: bool = False) -> list[Experiment]:
        """Every experiment, deleted ones included."""
        if self._experiments is None or again:
            if self.reader is not None:
                self._experiments = self.reader.experiments()
            else:
                self._experiments = list(self.snapshot.experiments)
        return self._experiments

    def read(
        self,
        root: Path,
        experiments: Sequence[Experiment],
        parts: Collection[Part],
        depth: Depth,
        *,
        include_deleted: bool,
        count: Count,
        model_links: bool = False,
        asked: Asked | None = None,
        wanted: Wanted | None = None,
        finish: bool = True,
    ) -> None:
        """Read the experiments into a snapshot below ``root``; nothing to do when a snapshot was given.

        ``asked`` is what an unfinished snapshot that is there must have been asked for too. ``wanted``: first the lists
        are read and, with the next calls, what is wanted of the objects that they name; ``finish``: nothing follows.
        """
        if self.reader is None:
            return
        if wanted is None or wanted.lists:
            self._begin(self.reader, root, asked)
        self._wanted, self._model_links = wanted, model_links
        self.resumed_parts = capture(
            self.reader,
            self.snapshot,
            experiments,
            parts,
            depth,
            include_deleted=include_deleted,
            count=count,
            model_links=model_links,
            wanted=wanted,
        )
        self.resumed_from = min(self.snapshot.taken_over, default=None)
        if finish:
            self.finish()
        else:
            self._keep()

    def _keep(self) -> None:
        """Write down what was read so far, so that it can be taken up again."""
        self.snapshot.record()

    def finish(self) -> None:
        """Seal what was read; what is read from now on is read again."""
        if self.reader is not None and not self.snapshot.is_finished:
            self.reader.end_of_first_reading()
            if self.is_kept:
                self.snapshot.note_moved(not_listed_again(self.snapshot.experiments))
            self.snapshot.finish()

    def _begin(self, reader: Reader, root: Path, asked: Asked | None) -> None:
        self._snapshot = Snapshot.create(
            root,
            origin_of(self.location, reader, self.name, artifacts=self.own_place),
            self.experiments(),
            None if asked is None else replace(asked, renames=self.renames, evidence=reader.evidence),
        )

    def holds(self, experiments: Sequence[Experiment], wanted: Asked) -> None:
        """Refuse a snapshot that was asked for less than is wanted of it.

        Raises:
            SnapshotError: when it does not cover these experiments, their deleted runs or this depth.
        """
        asked = self.snapshot.asked
        lacking = "" if asked is None else asked.lacks(wanted, [item.name for item in experiments])
        if lacking:
            raise SnapshotError(
                f"{self.location.display}: the {self.name}'s snapshot was read with {lacking}; audit no more than "
                "that, or make the snapshot again"
            )

    def names(self) -> dict[Family, list[str]]:
        """Names of the registered models and prompts; none where they cannot be listed (said when they are read)."""
        found: dict[Family, list[str]] = {"model": [], "prompt": []}
        kinds: dict[Family, str] = {"model": "registered_model", "prompt": "prompt"}
        for family, kind in kinds.items():
            if self.reader is None:
                objects = self.snapshot.objects(SERVER)
                if objects.problem(KINDS[kind].part) is None:
                    found[family] = [key.entity_id for key in objects.keys(kind)]
                else:
                    self.unlisted.add(family)
            elif self.reader.supports(kind) is not False:
                try:
                    found[family] = list(self.reader.names(kind))
                except ReadError:
                    self.unlisted.add(family)
        return found

    def objects_again(self, root: Path, place: str, part: Part, depth: Depth) -> PlaceObjects | None:
        """Read one part of a place (experiment id or ``SERVER``) again into ``root``; ``None`` for a snapshot.

        Raises:
            ReadError: when the server does not answer any more.
        """
        if self.reader is None:
            return None
        again = Snapshot.create(root, self.snapshot.origin, self.experiments())
        listing = next((KINDS[kind].part for kind, files in FILES_PART.items() if files == part), None)
        parts = {part} | ({listing} if listing else set())
        capture_objects(self.reader, again, place, parts, depth, uncounted, wanted=self._wanted)
        return again.objects(place)

    def files_again(self, entities: Sequence[Entity], depth: Depth, doubted: Sure) -> dict[str, ArtifactTree]:
        """Read the files of objects again, of those ``doubted`` the bytes whatever a store states; no snapshot's.

        Raises:
            ReadError: when the server does not answer any more.
        """
        if self.reader is None or not entities:
            return {}
        return {tree.run_id: tree for tree in self.reader.entity_files(entities, depth, sure=doubted)}

    def view(self, experiment: Experiment) -> SnapshotView:
        """Return one experiment as it was read."""
        return self.snapshot.view(experiment)

    def fresh(
        self,
        view: ExperimentView,
        suspects: Collection[str],
        metrics: Mapping[str, Collection[str]],
        artifacts: Sure,
        depth: Depth,
        *,
        include_deleted: bool,
        parts: Collection[Part],
        experiment: Experiment,
    ) -> FreshView | None:
        """Read the suspects of an experiment once more; ``None`` when a snapshot stands for the server.

        ``suspects`` are run ids, those that came or went since among them, ``metrics`` the suspect metric keys of a
        run, ``artifacts`` the runs whose trees are suspect with the files whose bytes decide, ``experiment`` the
        experiment as it is now. Runs that came since are read whole.

        Raises:
            ReadError: when the server does not answer any more.
        """
        if self.reader is None:
            return None
        # what is not known of the first reading can only be told by a list of all
        whole = bool(view.problem("runs") or (self._model_links and view.links_problem()))
        place = experiment.experiment_id
        again = self.reader.runs(place) if whole else self.reader.runs_by_id(place, sorted(suspects))
        runs = [run for page in again for run in page]
        links_problem: str | None = None
        if self._model_links:
            try:
                runs = self.reader.with_model_links(runs)
            except ReadError as error:
                links_problem = str(error)
        known = set() if view.problem("runs") else {key.entity_id for key in view.run_keys()}
        came = {run.run_id for run in runs if run.run_id not in known}
        if not include_deleted:
            came -= {run.run_id for run in runs if run.lifecycle_stage == "deleted"}
        histories: dict[str, dict[str, Series]] = {}
        if "metrics" in parts:
            wanted = [
                run if run.run_id in came else replace(run, metrics=_only(run, metrics[run.run_id]))
                for run in runs
                if run.run_id in came or run.run_id in metrics
            ]
            for batch in self.reader.histories(wanted):
                for series in batch:
                    histories.setdefault(series.run_id, {})[series.key] = series
        trees: dict[str, ArtifactTree] = {}
        if "artifacts" in parts:
            read = [run for run in runs if run.run_id in came or run.run_id in artifacts]
            sure: Sure = {**dict.fromkeys(came), **artifacts}
            trees = {tree.run_id: tree for tree in self.reader.artifacts(read, depth, None, sure)}
        return FreshView(view, experiment, runs, None if whole else suspects, histories, trees, links_problem)


def rest_on(evidence: Evidence, sides: Mapping[SideName, Side]) -> None:
    """Say what a live side may rest on for files' bytes: SHA-256s alone beside a snapshot that holds nothing else."""
    for side in sides.values():
        if side.reader is not None:
            others = [other.snapshot.asked for other in sides.values() if not other.live]
            old = any(asked is not None and not asked.evidence for asked in others)
            side.reader.evidence = "sha256" if old else evidence


def told_of(sides: Mapping[SideName, Side]) -> Told:
    """Return both releases, and what each side was told that nothing here knows."""
    both = [sides[name].snapshot for name in SIDES]
    return Told(
        (both[0].origin.version, both[1].origin.version),
        functools.cache(lambda side, kind: both[side].other_keys(kind)),
    )


def uncounted(
    *, experiments: int = 0, runs: int = 0, points: int = 0, artifacts: int = 0, size: int = 0, objects: int = 0
) -> None:
    """Count nothing: what is read again was counted before."""


def _only(run: Run, keys: Collection[str]) -> dict[str, MetricPoint]:
    # an empty key stands for the facet as a whole
    return {key: point for key, point in run.metrics.items() if key in keys or "" in keys}


def prepare_folder(kept: str | None, side: SideName, scratch: Path) -> tuple[Path, str | None]:
    """Return where a side's snapshot goes, and a note when an earlier one was moved aside.

    Without ``--parity-snapshot-dir`` it is ``scratch``. An unfinished snapshot is resumed; a finished one is kept under
    the time at which it was read, because a new audit reads again: an old snapshot must not pass for the server.

    Raises:
        UsageProblem: when the folder cannot be used.
    """
    if kept is None:
        return scratch / side, None
    root = given_path(kept, "--parity-snapshot-dir", "pass a different folder") / side
    try:
        make_folder(root.parent)
        with tempfile.TemporaryFile(dir=root.parent):
            pass
        begun = (root / MANIFEST).exists()
    except OSError as error:
        raise SnapshotError(
            f"--parity-snapshot-dir: cannot write to {kept} ({error.strerror}); pass a different folder"
        ) from None
    if not begun:
        return root, None
    old = Snapshot.open(root, finished=False)
    if not old.is_finished:
        return root, None
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(old.finished or old.created))
    aside = root.with_name(f"{side}-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = root.with_name(f"{side}-{stamp}-{number}")
    root.rename(aside)
    return root, f"the finished snapshot of an earlier audit was kept as {side}-{re.sub('^.*?-', '', aside.name)}"
