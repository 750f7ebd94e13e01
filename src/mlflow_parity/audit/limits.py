"""What limits an audit as a whole: a user to whom a server does not show everything, a release that is not known.

There is a row for each such facet, one for both servers, only where something limits the audit; it is ``unverified``,
whatever was selected, and a waiver can accept it. The kinds that a server does not serve, although its release may have
them, are named as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from mlflow_parity.audit.side import SIDES, Side, SideName
from mlflow_parity.audit.test_items import Item
from mlflow_parity.comparing.difference import Difference, Outcome
from mlflow_parity.core.verdict import Row, State
from mlflow_parity.kinds import KINDS, SCOPE_FACETS, SCOPE_KIND
from mlflow_parity.reading.transport.capabilities import release
from mlflow_parity.reading.transport.kind_support import is_newer, newer
from mlflow_parity.snapshot import SERVER
from mlflow_parity.snapshot.store import Origin, Snapshot

#: The item that every audit has, whatever is in its scope.
SCOPE_ITEM = Item("both-servers", "", "", surplus=False, family="scope")


def _hidden(side: SideName, origin: Origin) -> tuple[str, str]:
    """Return in a word what is shown, and the sentence; both are empty where everything is."""
    return ("not everything", f"the {side} {origin.hidden}") if origin.hidden else ("", "")


def _newer(side: SideName, origin: Origin) -> tuple[str, str]:
    version = origin.version or ""
    return (version, newer(side, version)) if is_newer(version) else ("", "")


#: What limits an audit, by facet: the server's value and the sentence.
LIMITS: Mapping[str, Callable[[SideName, Origin], tuple[str, str]]] = {"visibility": _hidden, "release": _newer}
assert tuple(LIMITS) == SCOPE_FACETS


def limit_rows(sides: Mapping[SideName, Side]) -> Iterator[Outcome]:
    """Yield a row for each facet in which either server limits the audit."""
    for facet, look in LIMITS.items():
        found = []
        for name in SIDES:
            value, sentence = look(name, sides[name].snapshot.origin)
            if sentence:
                ours, theirs = (value, None) if name == "source" else (None, value)
                found.append(Difference(name, State.UNVERIFIED, f"{SCOPE_KIND}.{facet}", ours, theirs, sentence))
        if found:
            row = Row(SCOPE_ITEM.label, SCOPE_KIND, "both", None, None, facet, State.UNVERIFIED, findings=len(found))
            yield Outcome(row, tuple(found))


def not_served(snapshot: Snapshot) -> list[str]:
    """Return the kinds, by plural, that the server may have by its release and does not serve."""
    version = release(snapshot.origin.version)
    places = [SERVER, *(one.experiment_id for one in snapshot.experiments[:1])]
    absent = set().union(*(snapshot.objects(place).every_unsupported() for place in places))
    return [
        kind.plural for kind in KINDS.values() if kind.name in absent and (version == (0, 0) or version >= kind.first)
    ]
