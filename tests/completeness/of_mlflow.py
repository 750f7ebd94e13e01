"""Prints what a release of MLflow is made of, as JSON: its tables and columns, and the routes of its server.

It runs by itself, in the environment of that release: nothing here is imported by it, and it by nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

#: MLflow's databases: that of the tracking server, and that of its login.
TRACKING, LOGIN = "tracking", "login"


def columns() -> dict[str, dict[str, list[str]]]:
    """Return the columns of every table of both databases."""
    import mlflow.store

    for one in pkgutil.walk_packages(mlflow.store.__path__, "mlflow.store."):
        # every module of tables, wherever a release keeps it
        if "dbmodels" in one.name:
            importlib.import_module(one.name)
    bases = {TRACKING: "mlflow.store.db.base_sql_model", LOGIN: "mlflow.server.auth.db.models"}
    found = {name: importlib.import_module(module).Base.metadata for name, module in bases.items()}
    return {
        name: {table.name: [one.name for one in table.columns] for table in metadata.tables.values()}
        for name, metadata in found.items()
    }


def routes(folder: Path) -> list[tuple[str, str]]:
    """Return method and path of every route of the server, with its login and its proxy for artifacts."""
    login = folder / "login.ini"
    login.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder}/login.db\nadmin_username = admin\n"
        "admin_password = password1234\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
        encoding="utf-8",
    )
    store = f"sqlite:///{folder}/mlflow.db"
    os.environ.update({
        "MLFLOW_AUTH_CONFIG_PATH": str(login), "MLFLOW_FLASK_SERVER_SECRET_KEY": "key",
        "MLFLOW_BACKEND_STORE_URI": store, "_MLFLOW_SERVER_FILE_STORE": store, "MLFLOW_TRACKING_URI": store,
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true", "MLFLOW_DISABLE_TELEMETRY": "true",
    })  # fmt: skip
    server: Any = importlib.import_module("mlflow.server")
    login_app: Any = importlib.import_module("mlflow.server.auth").create_app(server.app)
    found = set(_of_flask(server.app))
    if login_app is not server.app:
        found |= set(_of_fastapi(login_app.routes))
    with contextlib.suppress(ModuleNotFoundError):
        found |= set(_of_fastapi(importlib.import_module("mlflow.server.fastapi_app").create_fastapi_app().routes))
    return sorted(found)


def _of_flask(app: Any) -> Iterator[tuple[str, str]]:
    for rule in app.url_map.iter_rules():
        yield from ((method, rule.rule) for method in rule.methods if method not in ("HEAD", "OPTIONS"))


def _of_fastapi(found: Iterable[Any]) -> Iterator[tuple[str, str]]:
    for route in found:
        if hasattr(route, "effective_candidates"):
            # a router within the app: newer FastAPI keeps it whole
            yield from _of_fastapi(route.effective_candidates())
        elif hasattr(route, "wsgi_app") or type(getattr(route, "app", None)).__name__ == "WSGIMiddleware":
            # the Flask app, which is asked by itself
            continue
        else:
            methods = getattr(route, "methods", None) or ("MOUNT",)
            yield from ((method, route.path) for method in methods if method not in ("HEAD", "OPTIONS"))


if __name__ == "__main__":
    out = sys.stdout
    # what MLflow prints while it starts is none of the answer
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        told = {"columns": columns(), "routes": routes(Path(folder))}
    json.dump(told, out)
