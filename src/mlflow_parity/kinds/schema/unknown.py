"""What a server tells of an object and no facet claims: kept as it is, so that a newer server's field is not dropped.

Each reader states beside its code which keys of an answer it claims. The others go into the facet ``other``, under the
way that leads to them (``info: color``), but for what is empty. Of entries of a list, the values of each stand under
what the entry is called.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from mlflow_parity.core.identity.digests import digest
from mlflow_parity.core.json_text import bounded
from mlflow_parity.kinds.schema.listing import Entry

#: Keys that are claimed: whole (``None``), or but for what nothing claims within.
Claims: TypeAlias = "Mapping[str, Claims | Each | None]"


@dataclass(frozen=True, slots=True)
class Each:
    """Keys that are claimed of each entry of a list; ``called`` names an entry."""

    claims: Claims
    called: Callable[[Entry], str] = lambda entry: str(entry.get("key", ""))

    def unclaimed(self, entries: Sequence[Entry], path: str) -> dict[str, Any]:
        """Return what is claimed of no entry, by key and by what the entries are called."""
        whole = not any(self.claims.values())
        found: dict[str, dict[str, list[Any]]] = {}
        for entry in entries:
            if whole and entry.keys() <= self.claims.keys():
                continue
            for key, value in unclaimed(entry, self.claims, path).items():
                found.setdefault(key, {}).setdefault(self.called(entry), []).append(value)
        for named in found.values():
            for values in named.values():
                values.sort(key=lambda one: json.dumps(one, sort_keys=True))
        return dict(found)


def claims(names: str, **within: Claims | Each) -> Claims:
    """Return claims: ``names`` (separated by blanks) whole, ``within`` but for what nothing claims within."""
    return {**dict.fromkeys(names.split()), **within}


#: MLflow's list of key and value.
PAIRS = Each(claims("key value"))


def unclaimed(entry: Entry, claimed: Claims, path: str = "") -> dict[str, Any]:
    """Return what nothing claims of an entry, by the way that leads to it; what is empty says nothing."""
    found: dict[str, Any] = {}
    for key, value in entry.items():
        if key not in claimed:
            if value not in (None, "", [], {}):
                found[path + key] = bounded(value)
            continue
        within = claimed[key]
        if isinstance(within, Each) and isinstance(value, list):
            found |= within.unclaimed(value, f"{path}{key}: ")
        elif isinstance(within, Mapping) and isinstance(value, Mapping):
            found |= unclaimed(value, within, f"{path}{key}: ")
    return found


def facet(entry: Entry, claimed: Claims) -> dict[str, Any]:
    """Return the facet ``other`` of an entry; no facet at all where everything is claimed."""
    found = unclaimed(entry, claimed)
    return {"other": found} if found else {}


def hashed(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return such a facet with a digest for each value."""
    return {name: {key: digest(value).hex() for key, value in other.items()} for name, other in found.items()}
