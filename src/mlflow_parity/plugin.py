"""pytest hooks, nothing else; heavy imports happen inside, only when an audit was asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlflow_parity import options
from mlflow_parity.core.errors import ParityError, UsageProblem, no_space
from mlflow_parity.pytest_api import fixtures
from mlflow_parity.pytest_api.fixtures import SHARED as _SHARED

if TYPE_CHECKING:
    from _pytest._io import TerminalWriter

    from mlflow_parity.pytest_api.session import Main
    from mlflow_parity.reporting.write import ReportFolder

_FOLDER, _RECHECK = "mlflow_parity_folder", "mlflow_parity_recheck"
_MAIN: pytest.StashKey[Main] = pytest.StashKey()
_FIXTURE = "parity_audited"
_SCOPE = "parity_scope"
_REPORTS: pytest.StashKey[ReportFolder] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Register the options and the fixtures."""
    options.add_options(parser)
    pluginmanager.register(fixtures, "mlflow-parity-fixtures")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Let an audit that names no path load the folder's own ``conftest.py`` alone, and none of its tests'.

    pytest would take those of ``testpaths`` and of each folder ``test*``: what they import need not be installed where
    an audit runs, and no check uses it. From here on, too, the report of an earlier run is not this run's: pytest may
    end at a broken ``conftest.py`` or an option that it does not know, before it asks us again.
    """
    given = early_config.known_args_namespace
    values = options.raw_values(early_config, given=given)
    if not options.is_active(values):
        return
    if not given.help and not _is_worker() and _writes(given, values):
        from mlflow_parity.core.redaction import Redactor
        from mlflow_parity.pytest_api import report_building

        # what may be wrong with that folder is said when all options are known
        with suppress(ParityError):
            early_config.stash[_REPORTS] = report_building.begin(values["report-dir"], Redactor.from_environment())
    if given.file_or_dir:
        return
    own = early_config.invocation_params.dir / "conftest.py"
    given.file_or_dir = [str(own if own.is_file() else checks_folder())]


def _writes(given: Any, values: Mapping[str, str]) -> bool:
    """Whether a run with these options of pytest and of ours makes a report."""
    return not options.is_estimate(values) and not any(getattr(given, name, False) for name in options.LOOKS)


def _is_worker() -> bool:
    """Whether this process is a worker of xdist, before pytest knows; a process that a worker started is none."""
    return "PYTEST_XDIST_WORKER" in os.environ and sys.argv[:1] == ["-c"]


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Validate the options and, when no path was given, run the checks."""
    values = options.raw_values(config)
    if not options.is_active(values) or config.option.help:
        # said once here, and not for each file that is collected
        if not config.option.help and any(_is_ours(argument) for argument in config.args):
            raise pytest.UsageError(options.NO_SIDES)
        return
    from mlflow_parity.core.redaction import Redactor, guard_debug_file, guard_logs
    from mlflow_parity.pytest_api import refused_options, repeating, session
    from mlflow_parity.pytest_api.beginning import begun

    redactor = Redactor.from_environment()
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    written = worker is None and _writes(config.option, values)
    reports = config.stash.get(_REPORTS, None)
    if worker is not None and worker[_RECHECK]:
        values["recheck"] = worker[_RECHECK]
    try:
        with _usage_errors(redactor):
            refused_options.refuse(config)
            found = begun(values, redactor, selected=repeating.selection(config), written=written, reports=reports)
    except BaseException:
        # which part of what was refused is a secret nobody knows
        guard_debug_file(config.trace.root, Redactor.from_environment(also=values.values()))
        raise
    settings, redactor = found.settings, found.redactor
    config.add_cleanup(guard_logs(redactor))
    guard_debug_file(config.trace.root, redactor)
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args[:] = [str(checks_folder())]
    if worker is not None:
        from mlflow_parity.pytest_api.checking import Shared

        config.stash[_SHARED] = Shared(Path(worker[_FOLDER]), settings, redactor)
        return
    from mlflow_parity.core.ending import on_sigterm

    main = session.Main(settings, redactor, found.command, found.reports)
    config.stash[_SHARED] = config.stash[_MAIN] = main
    config.pluginmanager.register(main.tests, "mlflow-parity-own-tests")
    config.add_cleanup(main.close)
    config.add_cleanup(on_sigterm())


def checks_folder() -> Path:
    """Return the shipped checks: beside this module when installed, at the top of a checkout otherwise."""
    here = Path(__file__).resolve().parent
    installed = here / "checks"
    return installed if installed.is_dir() else here.parent.parent / "checks"


def _is_ours(argument: str) -> bool:
    path = Path(argument.partition("::")[0]).absolute()
    return checks_folder() in (path, *path.parents)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Collect the checks also where the user's ``python_files`` would pass over them."""
    if _SHARED not in parent.config.stash or file_path.parent != checks_folder():
        return None
    usual = any(file_path.match(pattern) for pattern in parent.config.getini("python_files"))
    if usual or not file_path.match("test_*.py"):
        return None
    module: pytest.Module = pytest.Module.from_parent(parent, path=file_path)
    return module


@contextmanager
def _usage_errors(redact: Any, main: Main | None = None) -> Iterator[None]:
    """Turn our own errors into one line and exit status 4; the reports of ``main`` say it too."""
    try:
        yield
    except KeyboardInterrupt:
        # with --full-trace pytest shows every frame with its arguments: those of signing and sending stay out of it
        raise KeyboardInterrupt from None
    except Exception as error:
        problem = error if isinstance(error, ParityError) else no_space(error)
        if problem is not None:
            if main is not None:
                main.ends(str(problem), problem.exit_status)
            raise pytest.UsageError(redact(str(problem))) from None
        # a defect of ours: pytest would print the frames' source and, with --showlocals, their values
        from mlflow_parity.core.redaction import defect

        reason = f"internal error (a bug in mlflow-parity), and no verdict:\n{defect(error, redact)}"
        if main is not None:
            main.ends("internal error (a bug in mlflow-parity)", int(pytest.ExitCode.INTERNAL_ERROR))
        raise pytest.exit.Exception(reason, returncode=int(pytest.ExitCode.INTERNAL_ERROR)) from None


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what is compared with what."""
    shared = config.stash.get(_SHARED, None)
    if shared is None:
        return []
    settings, main = shared.settings, config.stash.get(_MAIN, None)
    from mlflow_parity.reporting.side_report import begun

    lines = []
    for name, location in (("source", settings.source), ("target", settings.target)):
        answered = begun("source" if name == "source" else "target", location, os.environ).answered
        lines.append(
            f"mlflow-parity: {name} {location.display}" + (f": {shared.redactor(answered)}" if answered else "")
        )
    return lines if main is None else [*lines, *(f"mlflow-parity: {line}" for line in main.told_first())]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Take the inventory before anything is collected and before xdist starts its workers."""
    main = session.config.stash.get(_MAIN, None)
    if main is not None:
        with _usage_errors(main.redactor, main):
            if main.settings.estimate and session.config.pluginmanager.hasplugin("dsession"):
                raise UsageProblem("--parity-estimate runs no check, so there is nothing for workers: leave out -n")
            main.take_inventory()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist worker where the inventory and the states are."""
    main = node.config.stash.get(_MAIN, None)
    if main is not None:
        node.workerinput[_FOLDER] = str(main.folder)
        # which may have been moved aside since it was named
        node.workerinput[_RECHECK] = main.settings.recheck.path if main.settings.recheck is not None else ""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test per check and experiment."""
    if not {_FIXTURE, _SCOPE} & set(metafunc.fixturenames):
        return
    shared = metafunc.config.stash.get(_SHARED, None)
    if shared is None:
        raise pytest.UsageError(options.NO_SIDES)
    if _SCOPE in metafunc.fixturenames:
        from mlflow_parity.pytest_api.own_checks import WHOLE, test_id

        each = "parity_experiment" in metafunc.fixturenames
        items = [item for item in shared.items if each and item.family == "experiment" and not item.surplus]
        names = [test_id(item) for item in items] if each else [WHOLE]
        metafunc.parametrize(_SCOPE, items if each else [None], ids=names, indirect=True)
    if _FIXTURE not in metafunc.fixturenames:
        return
    from mlflow_parity.audit.test_items import shares

    found = shares(metafunc.function.__name__.removeprefix("test_"), shared.items)
    metafunc.parametrize(_FIXTURE, found, ids=[share.id for share in found], indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out loading of models unless it was asked for, what no snapshot tells, and what a recheck does not want."""
    shared = config.stash.get(_SHARED, None)
    if shared is None:
        return
    from mlflow_parity.kinds.rules.check_registry import PROMISES, collected
    from mlflow_parity.pytest_api.checking import checks_of

    settings, recheck = shared.settings, shared.settings.recheck
    names = collected(
        snapshot=settings.target.kind == "snapshot", load_models=settings.load_models, usable=settings.usable
    )
    unjudged = tuple(f"test_{one.name}[" for one in PROMISES if one.name not in names)
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        ours = item.path.parent == checks_folder()
        # a recheck is of our own checks alone: others have no earlier verdict
        wanted = recheck is None or (ours and recheck.wants(checks_of(item, _FIXTURE)))
        (kept if wanted and not (ours and item.name.startswith(unjudged)) else left).append(item)
    items[:] = kept
    if left:
        # so that pytest's own count says how many of those that it collected are run
        config.hook.pytest_deselected(items=left)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Note which tests beside our checks are to run, before a worker of xdist says what it has collected."""
    shared = session.config.stash.get(_SHARED, None)
    if shared is not None:
        shared.note_others(item.nodeid for item in session.items if item.path.parent != checks_folder())


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Read and compare, or only estimate that, now that it is known which checks were selected."""
    main = session.config.stash.get(_MAIN, None)
    distributed = session.config.pluginmanager.hasplugin("dsession")
    if main is None or distributed or session.config.option.collectonly or session.testsfailed:
        return None
    if main.settings.estimate:
        with _usage_errors(main.redactor, main):
            writer = _writer(session.config)
            main.estimate([item.nodeid for item in session.items], print if writer is None else writer.line)
        return True  # no check runs
    _run(main, session.config, [item.nodeid for item in session.items])
    return None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: Sequence[str]) -> None:
    """The same under xdist: the first worker to have collected tells what was selected."""
    main = node.config.stash.get(_MAIN, None)
    if main is not None and main.result is None:
        _run(main, node.config, ids)


def _run(main: Main, config: pytest.Config, node_ids: Sequence[str]) -> None:
    from mlflow_parity.reporting.progress import Terminal

    writer = _writer(config)

    def write(text: str) -> None:
        if writer is not None:
            writer.write(text, flush=True)

    shown = Terminal(write, writer is not None and sys.stdout.isatty(), 0 if writer is None else writer.fullwidth)
    with _usage_errors(main.redactor, main):
        main.run(node_ids, shown)


def _writer(config: pytest.Config) -> TerminalWriter | None:
    """Return what writes to the terminal; ``None``: pytest was asked for no output (``-p no:terminal``)."""
    return config.get_terminal_writer() if config.pluginmanager.hasplugin("terminalreporter") else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let pytest's own list of what failed say first what is wrong: it cuts each line at the terminal's width."""
    report = yield
    fixtures.mark(item, call, report)
    crash = getattr(report.longrepr, "reprcrash", None)
    if report.failed and crash is not None and _FIXTURE in getattr(item, "fixturenames", ()):
        from mlflow_parity.reporting.check_message import short

        if crash.message.startswith("Failed: parity: "):
            crash.message = short(crash.message)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, object, object]:
    """Write the reports; nothing but a green ledger may exit 0, whatever another plugin makes of the exit status.

    Below all that others print stands the verdict, which is red where pytest itself or a plugin ends otherwise after
    all (``--max-warnings``).
    """
    main = session.config.stash.get(_MAIN, None)
    if main is None:
        return (yield)
    from mlflow_parity.pytest_api import showing

    with _usage_errors(main.redactor, main):
        # a test may end the whole run with status 0 after others have failed
        session.exitstatus = status = main.finish(int(exitstatus) or int(session.testsfailed > 0))
        showing.in_junit(main, session.config)
    try:
        return (yield)
    except BaseException as error:
        told = error.returncode if isinstance(error, pytest.exit.Exception) else int(pytest.ExitCode.TESTS_FAILED)
        session.exitstatus = session.exitstatus if told is None else told
        if isinstance(error, pytest.exit.Exception) and told == 0:
            error.returncode = status
        raise
    finally:
        session.exitstatus = int(session.exitstatus) or status
        if main.ends_otherwise(session.exitstatus):
            showing.in_junit_again(main, session.config)
        showing.show(main, session.config, session.exitstatus)
