"""Runs mutants: the tests are collected once, and each mutant is a forked process that runs those which reach it."""

from __future__ import annotations

import gc
import importlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from support.mutants import Mutant

#: What mutmut's trampolines ask which mutant is to run; ``stats``: none, and they say what was called.
_VARIABLE = "MUTANT_UNDER_TEST"
#: Fixtures of tests that start a server, and what others call that run a whole audit.
_SERVERS = frozenset({"server_pool"})
_AUDITS = frozenset({"run_audit", "audited", "used", "metric_audit"})
#: Tests that take seconds, for which thousands of mutants would wait.
_SLOW = (
    "test_a_copy_without_loss_is_green", "test_any_single_change_is_red_and_named",
    "test_missing_extra_and_doubled_objects_are_named", "test_a_yaml_bomb_", "test_every_run_is_in_exactly_one_list",
)  # fmt: skip
#: So many tests are asked about a mutant: those that noticed another one of its function, and those that reach least.
_MOST = 400
#: Bytes that a mutant may take, which may go round for ever.
_MEMORY = 6 << 30


class _Runs:
    """Takes the place of pytest's loop over its tests."""

    def __init__(self, mutants: Sequence[Mutant], children: int, keep: Callable[[dict[str, str]], object]) -> None:
        self.mutants = mutants
        self.keep = keep
        self.children = children
        self.noticed: dict[str, str] = {}
        self._hits: set[str] = set()
        self._failed = False
        self._items: list[pytest.Item] = []
        self._reached: dict[str, list[pytest.Item]] = defaultdict(list)
        self._durations: dict[pytest.Item, float] = {}
        self._breadth: dict[pytest.Item, int] = {}
        self._saying: tuple[int, int] | None = None

    def hit(self, name: str, caller: str | None = None) -> None:
        """Take in that a function was called."""
        self._hits.add(name)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Let hypothesis give each mutant the same examples."""
        settings.register_profile("mutants", derandomize=True, database=None, deadline=None)
        settings.load_profile("mutants")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what takes long: thousands of mutants are asked."""
        items[:] = [
            item
            for item in items
            if isinstance(item, pytest.Function)
            and item.get_closest_marker("long") is None
            and not _SERVERS & set(item.fixturenames)
            and not _AUDITS & set(item.function.__code__.co_names)
            and not item.name.startswith(_SLOW)
        ]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        """Remember that a test failed; a mutant is done with that, before pytest puts its failure into words."""
        if call.excinfo is None or isinstance(call.excinfo.value, pytest.skip.Exception):
            return
        if self._saying is not None:
            os.write(self._saying[0], str(self._saying[1]).encode())
            os._exit(1)
        self._failed = True
        print(call.excinfo.getrepr(style="native"), flush=True)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests once, then the mutants."""
        imported = set(self._hits)
        for item in session.items:
            self._hits.clear()
            began = time.perf_counter()
            _one(item)
            self._durations[item] = time.perf_counter() - began
            if self._failed:
                raise pytest.UsageError(f"{item.nodeid} fails on the code as it is")
            self._items.append(item)
            self._breadth[item] = len(self._hits)
            for name in self._hits:
                self._reached[name].append(item)
        os.environ[_VARIABLE] = ""
        slowest = max(self._items, key=self._durations.__getitem__)
        print(f"the slowest test takes {self._durations[slowest]:.1f} s: {slowest.nodeid}")
        print(
            f"{len(self._items)} tests, {sum(self._durations.values()):.0f} s, {len(self.mutants)} mutants", flush=True
        )
        self._forked()
        for mutant in self.mutants:
            if mutant.name not in self.noticed and _function(mutant) in imported:
                self._afresh(mutant)
        self._keep()
        return True

    def _forked(self) -> None:
        running: dict[int, tuple[Mutant, list[pytest.Item], int]] = {}
        waiting = [mutant for mutant in self.mutants if self._reached[_function(mutant)]][::-1]
        # which tests noticed a mutant of a function before: they are the first to be asked about the next one
        kills: dict[str, Counter[pytest.Item]] = defaultdict(Counter)
        began, done, total = time.monotonic(), 0, len(waiting)
        gc.collect()
        gc.freeze()
        while waiting or running:
            while waiting and len(running) < self.children:
                mutant = waiting.pop()
                before = kills[_function(mutant)]
                items = sorted(self._reached[_function(mutant)], key=lambda one: (-before[one], self._breadth[one]))[
                    :_MOST
                ]
                sys.stdout.flush()
                said, saying = os.pipe()
                child = os.fork()
                if child == 0:
                    self._child(mutant, items, saying)
                os.close(saying)
                running[child] = mutant, items, said
            ended, status = os.wait()
            if ended not in running:
                # a test's own child
                continue
            mutant, items, said = running.pop(ended)
            with os.fdopen(said) as told:
                which = told.read()
            done += 1
            if os.WIFSIGNALED(status):
                self.noticed[mutant.name] = f"signal {os.WTERMSIG(status)}"
            elif os.WEXITSTATUS(status):
                self.noticed[mutant.name] = items[int(which)].nodeid if which else "error"
                kills[_function(mutant)][items[int(which or 0)]] += 1
            if done % 100 == 0 or done == total:
                print(f"{done} of {total} mutants, {time.monotonic() - began:.0f} s", flush=True)
                self._keep(waiting)

    def _keep(self, waiting: Sequence[Mutant] = ()) -> None:
        left = {one.name for one in waiting}
        self.keep({one.name: self.noticed.get(one.name, "") for one in self.mutants if one.name not in left})

    def _child(self, mutant: Mutant, items: list[pytest.Item], saying: int) -> None:
        """Run the tests of one mutant up to the first that fails; never returns."""
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            os.environ[_VARIABLE] = mutant.name
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nowhere, stream)
            for number, item in enumerate(items):
                self._saying = saying, number
                # one that goes round for ever
                signal.alarm(int(10 + 20 * self._durations[item]))
                _one(item)
        except BaseException:
            os._exit(1)
        os._exit(0)

    def _afresh(self, mutant: Mutant) -> None:
        """Run all tests of its room in a process that imports the mutant."""
        chosen = [f"tests/{item.nodeid}" for item in self._items if item.nodeid.startswith(mutant.room)]
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:xdist", "-p", "no:cacheprovider", *chosen]
        environment = {**os.environ, _VARIABLE: mutant.name}
        done = subprocess.run(command, env=environment, capture_output=True, timeout=600, check=False)
        if done.returncode:
            self.noticed[mutant.name] = "import"


def _function(mutant: Mutant) -> str:
    return mutant.name.partition("__mutmut_")[0]


def _one(item: pytest.Item) -> None:
    # no next one: all fixtures end with the test, as mutants may run it alone
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)


def run(
    mutants: Sequence[Mutant], tests: Iterable[str], children: int, keep: Callable[[dict[str, str]], object]
) -> dict[str, str]:
    """Return which mutants the tests notice, and how; ``keep`` is given what is known on the way."""
    trampoline: Any = importlib.import_module("mutmut.mutation.trampoline")
    runs = _Runs(mutants, children, keep)
    trampoline.record_trampoline_hit = runs.hit
    os.environ[_VARIABLE] = "stats"
    options = ["-s", "-p", "no:xdist", "-p", "no:cacheprovider", "-p", "no:terminal", "--assert=plain"]
    status = pytest.main([*options, *tests], plugins=[runs])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise SystemExit(f"the tests cannot be run: pytest ended with {status}")
    return runs.noticed
