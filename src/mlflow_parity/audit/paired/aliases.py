"""Which versions the target's aliases lead to, asked of its server."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mlflow_parity.audit.looking.looks import Looks
from mlflow_parity.audit.side import SIDES
from mlflow_parity.core.records import Resolved
from mlflow_parity.snapshot import SERVER


@dataclass(slots=True)
class Aliases:
    """What the target says of the aliases of registered models and prompts; those of all are asked for at once."""

    looks: Looks
    answers: dict[str, list[Resolved]] | None = None
    """By name; ``None``: not asked yet."""

    def ask(self, name: str, aliases: Iterable[str]) -> list[Resolved]:
        """Ask for aliases now; nothing where a snapshot stands for the target."""
        reader = self.looks.sides["target"].reader
        return [] if reader is None else list(reader.resolve([(name, alias) for alias in sorted(aliases)]))

    def of(self, name: str, _: Iterable[str]) -> list[Resolved]:
        """Return what was answered for one registered model or prompt."""
        if self.answers is None:
            wanted: set[tuple[str, str]] = set()
            for side in SIDES:
                view = self.looks.objects(side, SERVER)
                for kind in ("registered_model", "prompt") if view.problem("registry") is None else ():
                    for entity in view.entities(kind, [key.entity_id for key in view.keys(kind)]):
                        wanted.update((entity.entity_id, alias) for alias in entity.facets.get("aliases") or {})
            reader = self.looks.sides["target"].reader
            self.answers = {}
            for answer in reader.resolve(sorted(wanted)) if reader is not None else ():
                self.answers.setdefault(answer.name, []).append(answer)
        return self.answers.get(name, [])
