"""One tree of errors: who reads its docstring knows every error, and a command's exit status stands on its class."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest

import mlflow_parity
from mlflow_parity.core import errors
from mlflow_parity.core.errors import NoSpace, ParityError


def _all(base: type[ParityError]) -> Iterator[type[ParityError]]:
    yield base
    for one in base.__subclasses__():
        yield from _all(one)


def test_the_docstring_names_every_error_below_its_base() -> None:
    """Without it an error comes up that nobody who handles errors knew of."""
    for found in pkgutil.walk_packages(mlflow_parity.__path__, "mlflow_parity."):
        if not found.name.endswith("__main__") and ".checks" not in found.name:
            importlib.import_module(found.name)
    drawn = re.findall(r"^    ([│├└─ ]*)(\w+) {2,}\w", str(errors.__doc__), re.MULTILINE)
    depth = {name: len(lead) // 4 for lead, name in drawn}
    shipped = {one for one in _all(ParityError) if one.__module__.startswith("mlflow_parity")}
    assert {one.__name__ for one in shipped} == set(depth)
    for one in shipped - {ParityError}:
        base = one.__mro__[1].__name__
        assert depth[one.__name__] == depth[base] + 1, one
        names = list(depth)
        above = [name for name in names[: names.index(one.__name__)] if depth[name] == depth[base]]
        assert above[-1] == base, one


@pytest.mark.parametrize("error", list(_all(ParityError)))
def test_the_exit_status_stands_on_the_class(error: type[ParityError]) -> None:
    """A script that runs a migration tells "refused" (2) from "ended on the way" (1), and an audit's 4 from red."""
    assert error.exit_status == 4 == int(pytest.ExitCode.USAGE_ERROR)
    assert error.migrate_status == (1 if issubclass(error, NoSpace) else 2)
