"""Prove that an MLflow tracking server was migrated without loss.

``audit(source=…, target=…)``, ``snapshot(source=…, folder=…)`` and ``migrate.plan(source=…, target=…)`` are what the
command does, for notebooks and programs (docs/python.md). Nothing of that is loaded before it is asked for: this file
is part of every run of pytest in the environment.

``audit`` and ``snapshot`` are rooms of this package too. A room whose name is called *is* the function: it stays the
module that it is for whoever imports from it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_parity import migrate as migrate
    from mlflow_parity.api import audit as audit
    from mlflow_parity.api import snapshot as snapshot

__version__ = "0.1.0"

_CALLED = ("audit", "snapshot")


class _Room(ModuleType):
    """A room of this package that can be called."""

    def __call__(self, *positional: Any, **named: Any) -> Any:
        """Do what the function of its name in :mod:`mlflow_parity.api` does."""
        return getattr(import_module(f"{__name__}.api"), self.__name__.rpartition(".")[2])(*positional, **named)


class _Face(ModuleType):
    """This package: the import system sets each room as an attribute of it, whoever imports it first."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CALLED and type(value) is ModuleType:
            value.__class__ = _Room
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name in (*_CALLED, "migrate"):
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_CALLED, "migrate"})


sys.modules[__name__].__class__ = _Face
