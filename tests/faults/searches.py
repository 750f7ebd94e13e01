"""What is altered in a copy so that people no longer find, load or see what they did (``--parity-usable``).

Only live servers answer searches, and one search is of many objects: so these are planted apart from the battery, by
``tests/comparing/test_usable.py``.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mlflow_parity.standin.servers import Server

#: As newer clients name an image that ``log_image`` makes.
IMAGE = "images/loss+step+20+timestamp+1700000000000+c69d6313-188b-4c74-b0eb-578967659d2a.png"
_ID = re.compile("[0-9a-f]{32}")
_PROMPT = re.compile(r" AND tags\.`mlflow\.prompt.*")


@dataclass(frozen=True, slots=True)
class Search:
    """What was done (by ``sql``; without it, to a file), and the searches that say so, each with its state."""

    kind: str
    what: str
    sql: str
    found: tuple[tuple[str, str], ...]

    def said(self) -> set[tuple[str, str, str]]:
        """Kind, search and state of every finding."""
        return {(self.kind, key, state) for key, state in self.found}


#: In a migrated copy of an agent's traces, with some runs beside them.
MIGRATED: tuple[Search, ...] = (
    Search("experiment", "name and type of a span are others, where searches look",
           "UPDATE spans SET name = 'other', type = 'LLM' WHERE name = 'lookup weather'",
           (("span.name = 'lookup weather'", "missing"), ("span.type = 'TOOL'", "missing"),
            ("number of spans by name: lookup weather", "mismatch"), ("number of spans by name: other", "mismatch"))),
    Search("experiment", "a param has another value",
           "UPDATE params SET value = '0.7' WHERE key = 'lr' AND value = '0.1'", (("params.`lr` = '0.1'", "missing"),)),
    Search("experiment", "a metric has another value, where searches look",
           "UPDATE latest_metrics SET value = 9 WHERE key = 'loss' AND value = 0.5",
           (("metrics.`loss` > 3.0", "extra"), ("metrics.`loss` DESC", "mismatch"))),
    Search("experiment", "a tag is gone", "DELETE FROM tags WHERE key = 'team' AND value = 't0'",
           (("tags.`team` = 't0'", "missing"),)),
)  # fmt: skip
#: In a restored copy of a store with every kind of object.
RESTORED: tuple[Search, ...] = (
    Search("experiment", "an image of `log_image` has a name that no web page knows", "",
           (("images of run ID", "missing"), ("images of run ID", "extra"))),
    Search("experiment", "traces name another run",
           "UPDATE trace_request_metadata SET value = 'x' WHERE key = 'mlflow.sourceRun'",
           (("attributes.run_id = 'ID'", "missing"),)),
    Search("registered_model", "another version is in the stage Production",
           "UPDATE model_versions SET current_stage = 'Production' WHERE name = 'churn' AND version = 2",
           (("stage Production", "mismatch"),)),
    Search("registered_model", "an alias leads to another version",
           "UPDATE registered_model_aliases SET version = 1 WHERE alias = 'champion'",
           (("alias champion", "mismatch"),)),
    Search("registered_model", "an alias is gone", "DELETE FROM registered_model_aliases WHERE alias = 'newest'",
           (("alias newest", "missing"),)),
    Search("registered_model", "a tag is gone",
           "DELETE FROM registered_model_tags WHERE name = 'churn' AND key = 'team'",
           (("name = 'churn' AND tags.`team` = 'growth'", "missing"),)),
    Search("registered_model", "a version names another run",
           "UPDATE model_versions SET run_id = 'x' WHERE name = 'price'",
           (("name = 'price' AND run_id = 'ID'", "missing"),)),
    Search("prompt", "an alias leads to another version",
           "UPDATE registered_model_aliases SET version = 3 WHERE alias = 'production'",
           (("alias production", "mismatch"),)),
    Search("prompt", "a version lost a tag",
           "DELETE FROM model_version_tags WHERE name = 'greeting' AND key = 'number' AND version = 1",
           (("name = 'greeting' AND tags.`number` = '1'", "missing"),)),
)  # fmt: skip
SEARCHES: Sequence[Search] = (*MIGRATED, *RESTORED)


def plant(searches: Iterable[Search], target: Server) -> None:
    """Alter the copy."""
    with closing(sqlite3.connect(target.database_path, timeout=30)) as database, database:
        for one in searches:
            if one.sql:
                assert database.execute(one.sql).rowcount, one.what
            else:
                image = next(Path(target.artifacts_root).rglob(Path(IMAGE).name))
                image.rename(image.with_name("elsewhere.png"))


def said(findings: Iterable[dict[str, str]]) -> set[tuple[str, str, str]]:
    """Return kind, search and state of the findings of a report, without what differs from run to run."""
    return {
        (one["kind"], _PROMPT.sub("", _ID.sub("ID", one["key"])).partition(" AND attributes.")[0], one["state"])
        for one in findings
        if one["facet"] == "usable"
    }
