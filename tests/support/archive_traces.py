"""Archives traces as the server's own job does it, by the interpreter whose MLflow serves.

Called as ``python archive_traces.py '{"database": …, "root": …, "archive": …, "config": …}'``; prints how many traces
were archived.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def archived(database: str, root: str, archive: str, config: str) -> int:
    """Archive every trace whose spans are in the database and that is older than a minute."""
    settings = {"enabled": True, "location": archive, "retention": "1m", "interval_seconds": 1}
    # JSON is YAML
    Path(config).write_text(json.dumps({"trace_archival": settings}), encoding="utf-8")
    os.environ["MLFLOW_TRACE_ARCHIVAL_CONFIG"] = config
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.tracing.trace_archival_service import _run_trace_archival_scheduler

    return int(_run_trace_archival_scheduler(SqlAlchemyStore(database, root)))


if __name__ == "__main__":
    print("RESULT" + json.dumps(archived(**json.loads(sys.argv[1]))))
