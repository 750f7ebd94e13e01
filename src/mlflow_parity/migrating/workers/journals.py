"""One journal for all workers: each note is in it before a worker's next request, as if this process had written it.

A worker has a journal of its own, of what concerns its experiments, to look things up in; what it notes there it first
has the one journal note. Who was given up in favour of another worker is not heard any more, and so stops.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from mlflow_parity.core.errors import NoSpace, ReadError, UsageProblem
from mlflow_parity.kinds import of_family
from mlflow_parity.migrating.journal import NOTES, Entry, Journal

_INSIDE = frozenset({"run", *(kind.name for kind in of_family("experiment"))})


_NOT_HEARD = "another worker moves these experiments now, or nobody does any more"


class SharedJournal(Journal):
    """A worker's journal; ``ask`` reaches the one that counts."""

    def __init__(self, path: Path, ask: Callable[[Any], Any]) -> None:
        super().__init__(path)
        self._ask = ask
        self._token = ""

    def take(self, piece: int) -> tuple[str, str]:
        """Begin with a piece: nobody else is at it from now on; return name and SHA-256 of the file with its entries.

        Raises:
            ReadError: nobody answers, or nobody waits for it any more.
        """
        told = self._ask({"take": piece})
        if "refused" in told:
            raise ReadError(str(told["refused"]))
        self._token = str(told["token"])
        return str(told["name"]), str(told["sha256"])

    def note(
        self, what: str, kind: str, source_id: str, value: str | None = None, *, place: str = "", name: str = ""
    ) -> None:
        """Have it noted in the one journal, then here.

        Raises:
            ReadError: nobody answers, or another worker moves these experiments now.
        """
        told = self._ask({"token": self._token, "note": [what, kind, source_id, value, place, name]})
        if told != "noted":
            raise NoSpace(str(told["full"])) if "full" in told else ReadError(str(told["refused"]))
        super().note(what, kind, source_id, value, place=place, name=name)


class Answers:
    """Answers what workers ask of the one journal.

    ``share`` makes a file of lines known to all workers and returns its name there and its SHA-256.
    """

    def __init__(self, journal: Journal, share: Callable[[Iterable[str]], tuple[str, str]]) -> None:
        self._journal = journal
        self._pieces: list[frozenset[str]] = []
        self._share = share
        #: Who is heard of each piece.
        self._tokens: dict[str, int] = {}
        self._lock = threading.Lock()

    def __call__(self, question: Any) -> Any:
        """Answer a question."""
        if "take" in question:
            return self._taken(int(question["take"]))
        piece = self._tokens.get(question["token"])
        if piece is None:
            return {"refused": _NOT_HEARD}
        what, kind, source_id, value, place, name = question["note"]
        if problem := _odd(what, kind, source_id, value, place, name, self._pieces[piece]):
            return {"refused": problem}
        try:
            self._journal.note(what, kind, source_id, value, place=place, name=name)
        except NoSpace as error:
            return {"full": str(error)}
        except KeyError as error:
            return {"refused": str(error)}
        return "noted"

    def begin(self, pieces: Sequence[Sequence[str]]) -> None:
        """Take pieces from now on, each by the ids of its experiments."""
        self._pieces = [frozenset(piece) for piece in pieces]

    def hear_nobody(self) -> None:
        """Refuse all notes from now on, so that every worker stops before its next request."""
        with self._lock:
            self._tokens.clear()
            self._pieces = []

    def _taken(self, number: int) -> dict[str, str]:
        with self._lock:
            if not 0 <= number < len(self._pieces):
                return {"refused": _NOT_HEARD}
            # one that has been given to another worker before is not heard any more
            self._tokens = {token: piece for token, piece in self._tokens.items() if piece != number}
            token = secrets.token_hex(8)
            self._tokens[token] = number
        shared, checksum = self._share(lines_of(self._journal, self._pieces[number]))
        return {"token": token, "name": shared, "sha256": checksum}


def _odd(
    what: object, kind: object, source_id: object, value: object, place: object, name: object, places: frozenset[str]
) -> str:
    """Say why a worker's note is none; empty: it is one."""
    texts = (what, kind, source_id, place, name)
    if not all(isinstance(text, str) for text in texts) or not isinstance(value, str | None) or what not in NOTES:
        return "what a worker notes makes no sense"
    if what == "begin" and (source_id if kind == "experiment" else place) not in places:
        return f"a worker notes {kind} {source_id}, which is in none of its experiments"
    return ""


def lines_of(journal: Journal, places: Iterable[str]) -> Iterator[str]:
    """Yield what a journal says of some experiments and what is in them, an entry a line."""
    for place in sorted(places):
        one = journal.entry("experiment", place)
        yield from (_line(entry) for entry in ([one] if one else []))
        yield from (_line(entry) for entry in journal.entries(place=place))


def lines_of_server(journal: Journal) -> Iterator[str]:
    """Yield what a journal says of all that is in no experiment, an entry a line, and what is in doubt."""
    yield from (_line(entry) for entry in journal.entries() if entry.kind not in _INSIDE)
    yield from (json.dumps(doubt) for doubt in journal.doubts())


def _line(entry: Entry) -> str:
    return json.dumps(astuple(entry))


def read_lines(path: Path, journal: Journal) -> None:
    """Take entries from a file of lines into a journal.

    Raises:
        UsageProblem: it is damaged.
    """
    try:
        rows = [tuple(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
        entries = [Entry(*row) for row in rows if len(row) != 2]
        doubts = [(str(kind), str(one)) for kind, one in (row for row in rows if len(row) == 2)]
    except (OSError, ValueError, TypeError):
        raise UsageProblem("what workers were given of the journal is damaged; run it again") from None
    journal.take_in(entries, doubts)
