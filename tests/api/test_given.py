"""Options by their names in Python: all of the command's, from its own tables; what is wrong is one line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.secrecy import leaks

import mlflow_parity
from mlflow_parity.api.given import audit_names, audit_values
from mlflow_parity.core.errors import ParityError, UsageProblem
from mlflow_parity.options import OPTIONS, raw_values
from mlflow_parity.standin.servers import clean_environment, free_port

BOTH = {"source": "http://a", "target": "http://b"}


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for option in OPTIONS:
        monkeypatch.delenv(option.environment, raising=False)


def test_every_option_of_the_command_is_one() -> None:
    """By its name without ``--parity-``, with underscores; a list, a number, a path and a truth are its text."""
    for option in OPTIONS:
        name = option.name.replace("-", "_")
        assert name in audit_names()
        value: Any = {"list": ["a", "b*"], "flag": True, "count": 3}.get(option.kind, Path("x/y"))
        wanted = {"list": "a,b*", "flag": "true", "count": "3"}.get(option.kind, "x/y")
        assert audit_values({name: value})[option.name] == wanted


def test_what_is_not_given_is_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for the command; ``False`` is given, ``None`` is not."""
    monkeypatch.setenv("MLFLOW_PARITY_DEPTH", "listing")
    monkeypatch.setenv("MLFLOW_PARITY_INCLUDE_DELETED", "true")
    values = audit_values({**BOTH, "include_deleted": False, "workers": None})
    assert (values["depth"], values["include-deleted"], values["workers"]) == ("listing", "false", "8")
    assert values == {
        **raw_values(None),
        "source-uri": "http://a",
        "target-uri": "http://b",
        "include-deleted": "false",
    }


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "the audit compares two servers: give source and target"),
        ({"source": "http://a"}, "the source is given but no target; add target_uri or target_arn"),
        ({**BOTH, "experimets": ["x"]}, "'experimets' is no option; did you mean experiments?"),
        ({**BOTH, "qqqqqqqq": 1}, "'qqqqqqqq' is no option; known are allow_place, "),
        ({**BOTH, "depth": "deep"}, "depth: 'deep' is not one of listing, digest, full"),
        ({**BOTH, "workers": 1.5}, "workers: '1.5' is not a whole number"),
        ({**BOTH, "workers": [1]}, "workers: a value of type list is none that this option has"),
        ({**BOTH, "experiments": [object()]}, "experiments: a value of type object is none that this option has"),
        ({**BOTH, "self_test": "perhaps"}, "self_test: 'perhaps' is neither true nor false"),
        ({**BOTH, "source_arn": "arn:x"}, "source and source_arn exclude each other"),
        ({**BOTH, "known_hashes": True}, "known_hashes: they are kept in snapshot_dir; add that"),
        ({**BOTH, "estimate": True}, "estimate: an estimate compares nothing"),
        ({"source": "http://a", "target": "http://a"}, "source and target are the same location"),
        ({"source": "./nowhere", "target": "http://a"}, "nowhere"),
        ({**BOTH, "waivers": "none.toml"}, "none.toml"),
    ],
)
def test_what_is_wrong_is_one_line(given: dict[str, Any], words: str) -> None:
    """It names the option as it was given; a refused audit has no report that could be taken for one."""
    with pytest.raises(UsageProblem, match=re.escape(words)) as caught:
        mlflow_parity.audit(**given)
    assert "\n" not in str(caught.value)
    assert "--parity" not in str(caught.value) or "estimate" in given
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


def test_an_unreachable_server_is_one_line_without_secrets(tmp_path: Path) -> None:
    """Nobody listens; the address has a password."""
    secret = "s3cr3t-hunter2"
    source = f"http://user:{secret}@127.0.0.1:{free_port()}"
    with pytest.raises(ParityError) as caught:
        mlflow_parity.audit(source=source, target="http://127.0.0.1:1", workers=1)
    assert "\n" not in str(caught.value)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    (tmp_path / "error").write_text(repr(vars(caught.value)) + str(caught.value))
    assert leaks({"password": secret}, tmp_path) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"source": "http://a"}, "no folder is given"),
        ({"folder": "x"}, "source_uri"),
        ({"source": "http://a", "folder": "x", "dept": "full"}, "'dept' is no option; did you mean depth?"),
        ({"source": "http://a", "folder": "x", "depth": "deep"}, "depth"),
        ({"source": "http://a", "folder": "x", "workers": 0}, "workers: 0 is out of range"),
        ({"source": ".", "folder": "x"}, "source"),
    ],
)
def test_a_snapshot_s_options_are_the_command_s(given: dict[str, Any], words: str) -> None:
    """What is wrong is one line here as well, and nothing ends the process."""
    with pytest.raises(UsageProblem, match=re.escape(words)) as caught:
        mlflow_parity.snapshot(**given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "no source is given"),
        ({**BOTH, "batchsize": 3}, "'batchsize' is no option; did you mean batch_size?"),
        ({**BOTH, "batch_size": 0}, "batch_size: 0 is out of range"),
        ({**BOTH, "batch_size": "many"}, "batch_size: invalid int value: 'many'"),
        ({**BOTH, "include_deleted": "yes"}, "include_deleted: 'yes' is neither True nor False"),
        ({**BOTH, "keep_export": True, "discard_export": True}, "not allowed with argument"),
    ],
)
def test_a_plan_s_options_are_the_command_s(given: dict[str, Any], words: str) -> None:
    """Those of ``mlflow-parity migrate plan``."""
    with pytest.raises(UsageProblem, match=re.escape(words)) as caught:
        mlflow_parity.migrate.plan(**given)
    assert "\n" not in str(caught.value)


_ORDERS = (
    "import mlflow_parity",
    "import mlflow_parity.audit.settings",
    "import mlflow_parity.snapshot; import mlflow_parity.audit",
    "from mlflow_parity.audit.running import Audit",
    "from mlflow_parity import snapshot, audit, migrate",
    "import mlflow_parity.api",
    "import mlflow_parity.plugin",
)


@pytest.mark.parametrize("order", _ORDERS)
def test_the_rooms_are_called_whatever_was_imported_first(order: str) -> None:
    """``mlflow_parity.audit`` is the room that it always was, and the function."""
    program = f"""
{order}
import mlflow_parity, importlib, types
import mlflow_parity.snapshot as room
from mlflow_parity import audit
assert callable(mlflow_parity.audit) and callable(mlflow_parity.snapshot) and callable(room)
assert isinstance(audit, types.ModuleType) and audit is mlflow_parity.audit
assert audit is importlib.import_module("mlflow_parity.audit")
assert room.PARTS and mlflow_parity.snapshot.PARTS
assert {{"audit", "snapshot", "migrate"}} <= set(dir(mlflow_parity))
for call in (audit, mlflow_parity.snapshot, mlflow_parity.migrate.plan):
    try:
        call(nothing=1)
    except mlflow_parity.core.errors.UsageProblem as problem:
        assert "'nothing' is no option" in str(problem) or "no folder" in str(problem), problem
    else:
        raise AssertionError(call)
try:
    mlflow_parity.nothing
except AttributeError as error:
    assert "nothing" in str(error)
else:
    raise AssertionError
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_package_loads_nothing_before_it_is_asked() -> None:
    """It is imported in every run of pytest in the environment."""
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}; import __future__, typing, importlib; before = set(sys.modules)"
    )
    program += "; import mlflow_parity; print(sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env=clean_environment(), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == "['mlflow_parity']\n"
