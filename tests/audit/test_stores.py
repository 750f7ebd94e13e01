"""No false alarm: contents that hypothesis makes are written to a real server, migrated and audited, and all is green.

``MLFLOW_PARITY_EXAMPLES=1000 pytest tests/audit/test_stores.py`` tries as many; one migration moves fifty of them.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from support.copied import audited
from support.exported import export_from
from support.generated import Story, Writer, stories
from support.importer import Migration
from support.seed import Seeder
from support.seed_later import seed_secret
from support.servers import ServerPool

from mlflow_parity.migrating.write.ordering import import_batch, import_rest

pytestmark = pytest.mark.long

EXAMPLES = int(os.environ.get("MLFLOW_PARITY_EXAMPLES", "12"))
BATCH = 50
#: Of what is tried to write, so much at most may be refused by the server.
REFUSED = 0.1


class Whole(Migration):
    """All of a source."""

    def run(self) -> None:
        """Import everything."""
        experiments = list(self.context.export.snapshot.experiments)
        import_batch(self.context, experiments)
        import_rest(self.context, experiments)


def test_generated_servers_are_green(server_pool: ServerPool, tmp_path: Path) -> None:
    """Whatever is on the source arrives, and the audit has no complaint; what was written is what was compared."""
    written: Counter[str] = Counter()
    for number in range(-(-EXAMPLES // BATCH)):
        source, target = server_pool.take(), server_pool.take()
        writer = Writer(source.uri)
        # ids of experiments are numbers: those of the target must not happen to be the same
        Seeder(source.uri).experiment("first")

        _write(writer, number, min(BATCH, EXAMPLES - number * BATCH))
        written += writer.written
        _migrated(writer, target.uri, tmp_path / str(number))
        server_pool.give_back("newest", source)
        server_pool.give_back("newest", target)
    assert {"run", "logged_model", "trace", "model_version", "prompt_version", "evaluation_dataset"} <= written.keys()
    assert {"issue", "review_queue", "gateway_endpoint", "gateway_budget", "mcp_server"} <= written.keys()
    print(dict(written))


def _write(writer: Writer, number: int, examples: int) -> None:
    @seed(number)
    @settings(max_examples=examples, suppress_health_check=list(HealthCheck), phases=[Phase.generate], database=None)
    @given(story=stories)
    def write(story: Story) -> None:
        writer.write(story)

    write()


def _migrated(writer: Writer, target: str, folder: Path) -> None:
    folder.mkdir()
    if writer.secret:
        seed_secret(target)
    exported, left = export_from(writer.uri, folder)
    assert left == []
    whole = Whole(exported, target, folder / "journal")
    try:
        whole.run()
    finally:
        whole.close()
    outcome = audited(writer.uri, target, profile="export-import")
    assert outcome.green, outcome.reasons[:3000]
    found = Counter(row.kind for row in outcome.rows if row.facet == "presence")
    assert {kind: found[kind] for kind in writer.written} == {
        # and Default, and the first one
        kind: count + 2 * (kind == "experiment")
        for kind, count in writer.written.items()
    }
    assert sum(writer.refused.values()) <= REFUSED * sum(writer.written.values()), writer.refused
