"""Spans into the target's database, where searches by span name, type, attribute and text find them.

MLflow keeps spans in its tracking store from 3.6 on and says so in a tag of the trace. They are written by the route
that its own client takes; the file ``traces.json`` is the way for targets that have none, and every server reads it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from mlflow_parity.core.errors import RequestRefused
from mlflow_parity.kinds.trace import IN_STORE, SPANS_LOCATION
from mlflow_parity.migrating.known_losses import by_contract
from mlflow_parity.migrating.write.otlp import Unfit, requests_of
from mlflow_parity.reading.traces.traces import BATCHES
from mlflow_parity.reading.transport.capabilities import release

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlflow_parity.core.records import Entity
    from mlflow_parity.migrating.write.importing import Import, Problems

#: First release that keeps the links of spans.
_LINKS = (3, 14)
#: Answers of a server, or of what stands before it, that does not have or does not give the route.
_CLOSED = (401, 403, 404, 405, 501)
_UNSEARCHABLE = "its spans are in a file, where no search by span name, type, attribute or text finds them"


class SpanStore:
    """The target's store of spans, and why it does not take some of them. Safe to use from many threads."""

    def __init__(self, context: Import) -> None:
        self._context = context
        #: Why the target takes none at all; empty: it does, or nobody tried.
        self._closed = ""

    def wants(self, trace: Entity) -> bool:
        """Whether a trace's spans are searchable on the source, and so should be on the target."""
        return trace.facets["tags"].get(SPANS_LOCATION) == IN_STORE and bool(trace.facets["spans"])

    def may_take(self, trace: Entity) -> bool:
        """Whether the spans of a trace are to be written into the target's database, for all that is known."""
        return self.wants(trace) and self._context.reader.keeps_spans is not False

    def write(
        self, trace: Entity, experiment_id: str, making: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> Exception | None:
        """Write the spans of a trace that wants it, and so the trace itself; return why not.

        The first request goes out within ``making``: it makes the trace, whatever becomes of the others.

        What the server makes of spans (times, state, previews) is the first draft of the trace: its own info has to be
        written after them.

        Raises:
            ReadError: the target failed.
        """
        reader = self._context.reader
        version = release(reader.capabilities.version)
        if reader.keeps_spans is False:
            kept = "with its data in files" if version >= BATCHES else "keeps none in its database"
            return Unfit(f"MLflow {reader.capabilities.version} {kept}")
        if (0, 0) < version < _LINKS and any(span["links"] for span in trace.facets["spans"]):
            return Unfit("before MLflow 3.14 the database keeps no links of spans")
        if self._closed:
            return Closed(self._closed)
        size = 0
        try:
            for body in [*requests_of(trace.entity_id, trace.facets["spans"])]:
                with making() if not size else nullcontext():
                    self._context.writer.spans(experiment_id, body)
                size += len(body)
        except Unfit as error:
            return error
        except RequestRefused as error:
            # half of them are in the database already, where every reader looks first: no file would be read
            if error.status >= 500 or size:
                raise
            if error.status in _CLOSED:
                self._closed = str(error)
                return Closed(self._closed)
            # a limit on the size of a body can be raised, and holds for this trace alone
            return Closed(str(error)) if error.status == 413 else Unfit(str(error))
        self._context.told(size=size)
        return None

    def note(self, why: Exception, problems: Problems) -> None:
        """Note that a trace's spans are in a file: by the contract, where the audit does not know that it need not be.

        What stands before a server that has the route may let it through the next time.
        """
        said = f"{_UNSEARCHABLE}: {why}".replace("; ", ", ")
        if not self._context.reader.keeps_spans:
            problems.impossible.append(by_contract("trace.tags.spans", said))
        elif isinstance(why, Closed):
            problems.failed.append(said)
        else:
            problems.impossible.append(said)


class Closed(Exception):
    """The target does not take spans; it says why."""
