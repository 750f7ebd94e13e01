"""A server that throttles one worker is asked for less by all of them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

from mlflow_parity.cluster.slowing import Slowing, variable_of
from mlflow_parity.reading.transport.slowing import Limiter

#: It has no types.
distributed: Any = importlib.import_module("distributed")


@pytest.fixture
def client() -> Iterator[Any]:
    """A cluster within this process."""
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0") as found:
        yield found


def test_one_that_is_throttled_slows_all(client: Any) -> None:
    """Each limit is lowered once for each time that another one was; that of the other server stays."""
    variables = {side: distributed.Variable(variable_of("a", side), client=client) for side in ("source", "target")}
    for variable in variables.values():
        variable.set("")
    limiters: list[dict[Any, Limiter]] = [{"source": Limiter(8), "target": Limiter(8)} for _ in range(3)]
    workers = [Slowing("a", one) for one in limiters]

    def look() -> None:
        for worker in workers:
            for side in ("source", "target"):
                worker.look(side, variables[side])

    look()
    assert [one["source"].limit for one in limiters] == [8, 8, 8]
    with limiters[0]["source"].slot() as era:
        limiters[0]["source"].throttled(era)
    for _ in range(3):
        look()
    assert [one["source"].limit for one in limiters] == [4, 4, 4]
    assert [one["target"].limit for one in limiters] == [8, 8, 8]
    with limiters[2]["source"].slot() as era:
        limiters[2]["source"].throttled(era)
    for _ in range(3):
        look()
    assert [one["source"].limit for one in limiters] == [2, 2, 2]
