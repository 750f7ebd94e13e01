"""``--parity-load-models``: what a model's code gets to see, what it leaves behind, and what it cannot pretend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.loadable import SEED_MODELS
from support.servers import FreshServer

from mlflow_parity.audit.model_loading import Loader, environment
from mlflow_parity.comparing.difference import Difference
from mlflow_parity.core.locations import Location, parse_arn, parse_location
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.standin.servers import clean_environment

GOOD = "return type('M', (), {'predict': lambda self, data: data})()"
#: A process that nobody's group holds: it keeps the pipes open, and says what the program would say.
_DAEMON = (
    "import os, time\n"
    "    if not os.fork():\n"
    "        os.setsid()\n"
    "        if not os.fork():\n"
    "            open({pid!r}, 'w').write(str(os.getpid()))\n"
    "            os.write(1, b'loaded\\n')\n"
    "            time.sleep(300)\n"
    "        os._exit(0)\n"
    "    os.wait()\n"
    "    while not os.path.exists({pid!r}): time.sleep(0.01)\n"
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of each model, how long it took, and the folder into which they wrote."""

    found: Mapping[str, list[Difference]]
    seconds: Mapping[str, float]
    folder: Path


def bodies(folder: Path) -> dict[str, str]:
    """Return the code of each model's loader."""
    pid = {name: str(folder / f"{name}.pid") for name in ("ghost", "haunted", "sitter")}
    return {
        "quitter": "import os; print('loaded', flush=True); os._exit(0)",
        "ghost": _DAEMON.format(pid=pid["ghost"]) + "    raise ValueError('no weights')",
        "haunted": _DAEMON.format(pid=pid["haunted"]) + f"    {GOOD}",
        "sitter": f"import subprocess; p = subprocess.Popen(['sleep', '900']); open({pid['sitter']!r}, 'w')"
        f".write(str(p.pid))\n    {GOOD}",
        "flood": f"import os\n    for _ in range(300): os.write(2, b'x' * 1000000)\n    {GOOD}",
        "curious": f"import os, json; json.dump(dict(os.environ), open({str(folder / 'env')!r}, 'w'))\n    {GOOD}",
    }


@pytest.fixture(scope="module")
def loaded(module_server: FreshServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    """Every model, loaded once from a real server, with secrets of all sorts in the environment."""
    server, folder = module_server(), tmp_path_factory.mktemp("load")
    code = bodies(folder)
    done = subprocess.run(
        [sys.executable, "-c", SEED_MODELS, server.uri, json.dumps(code)], env=clean_environment(),
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    load = Loader(parse_location(server.uri, option="--target-uri"), Redactor.from_environment(), limit=200)
    seconds = {}

    def one(name: str) -> tuple[str, list[Difference]]:
        began = time.monotonic()
        found = load(name, 1)
        seconds[name] = time.monotonic() - began
        return name, found

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        found = dict(pool.map(one, code))
    try:
        yield Loaded(found, seconds, folder)
    finally:
        for name in ("ghost", "haunted"):
            with suppress(OSError, ValueError):
                os.kill(int((folder / f"{name}.pid").read_text()), 9)


SECRETS = {
    "SOURCE_AWS_SECRET_ACCESS_KEY": "of the source",
    "SOURCE_MLFLOW_TRACKING_PASSWORD": "of the source",
    "AWS_SECRET_ACCESS_KEY": "needed for no file that is behind a server",
    "MLFLOW_PARITY_WAIVERS": "/etc/waivers.toml",
    "TARGET_MLFLOW_PARITY_WAIVERS": "/etc/waivers.toml",
    "DATABASE_PASSWORD": "of another program",
    "TARGET_SETTING_OF_A_MODEL": "7",
    "MLFLOW_TRACKING_TOKEN": "of both",
    "TARGET_MLFLOW_TRACKING_TOKEN": "of the target",
}


def _gone(pid: int) -> bool:
    """Whether a process ends soon: one that is killed needs a moment."""
    deadline = time.monotonic() + 10
    while (alive := _alive(pid)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.long
def test_a_model_cannot_pretend(loaded: Loaded) -> None:
    """Neither the word nor a good exit status of the model's own is a load; nor is what a grandchild says."""
    for name, why in (("quitter", "status 0 before the model was loaded"), ("ghost", "ValueError: no weights")):
        [found] = loaded.found[name]
        assert found.state.value == "mismatch"
        assert found.note == f"cannot be loaded: {'the process ended with ' * (name == 'quitter')}{why}"


@pytest.mark.long
def test_what_lives_on_does_not_hold_it_up(loaded: Loaded) -> None:
    """A daemon with the pipes in its hands blocks nothing; a child of the group is ended; output is not kept."""
    for name in ("haunted", "sitter", "flood", "curious"):
        assert loaded.found[name] == [], name
    assert max(loaded.seconds.values()) < 120, loaded.seconds
    assert _alive(int((loaded.folder / "haunted.pid").read_text())), "else it showed nothing"
    assert _gone(int((loaded.folder / "sitter.pid").read_text()))


def test_the_environment_of_a_model(loaded: Loaded) -> None:
    """No credential of the source, none that loading does not need, nothing of this program's own."""
    seen = json.loads((loaded.folder / "env").read_text())
    assert seen["SETTING_OF_A_MODEL"] == "7"
    assert seen["MLFLOW_TRACKING_TOKEN"] == "of the target"
    assert not {name for name in seen if name.startswith(("SOURCE_", "TARGET_", "MLFLOW_PARITY_", "AWS_"))}
    assert "DATABASE_PASSWORD" not in seen
    assert not {"of the source", "of both", "of another program"} & set(seen.values())


def test_a_group_ends_with_its_time(tmp_path: Path) -> None:
    """A process that takes too long is unverified, and so is all that it started gone."""
    python, pid = tmp_path / "python", tmp_path / "pid"
    python.write_text(f"#!/bin/sh\nsleep 900 &\necho $! > {pid}\nwait\n")
    python.chmod(0o700)
    location = parse_location("http://127.0.0.1:9", option="--target-uri")
    began = time.monotonic()
    [found] = Loader(location, Redactor.from_environment(), limit=1, python=str(python))("any", 1)
    assert (found.state.value, found.note) == ("unverified", "not loaded within 1 s")
    assert time.monotonic() - began < 30
    assert _gone(int(pid.read_text()))


def test_why_it_does_not_load_is_known_again(tmp_path: Path) -> None:
    """A waiver is bound to what the process said, but for what each load says otherwise."""
    python = tmp_path / "python"
    location = parse_location("http://127.0.0.1:9", option="--target-uri")

    def said(line: str) -> Difference:
        python.write_text(f'#!/bin/sh\necho "{line}" >&2\nexit 1\n')
        python.chmod(0o700)
        [found] = Loader(location, Redactor.from_environment(), limit=60, python=str(python))("any", 1)
        return found

    line = "OSError: '$TMPDIR/$$/model.pkl' is cut, <Reader at 0x$$>"
    first, again = said(line), said(line)
    assert (first.state.value, first.binding) == ("mismatch", again.binding)
    assert first.binding == (None, "OSError: '…' is cut, <Reader at …>")
    assert first.note != again.note, "else it showed nothing"
    assert said(f"{line}, twice").binding != first.binding
    long = "x" * 600
    assert said(f"{long} 1").binding != said(f"{long} 2").binding


ARN = parse_arn("arn:aws:sagemaker:eu-central-1:000000000000:mlflow-app/app-LOADED000000", option="--target-arn")
PLACE = parse_location("http://target", option="--target-uri")
KEY = {"AWS_ACCESS_KEY_ID": "both", "AWS_SECRET_ACCESS_KEY": "both", "AWS_REGION": "eu-central-1"}


@pytest.mark.parametrize(
    ("location", "aws", "given", "expected"),
    [
        (ARN, True, KEY, KEY),
        (ARN, True, {**KEY, "TARGET_AWS_PROFILE": "t"}, {"AWS_PROFILE": "t", "AWS_REGION": "eu-central-1"}),
        (ARN, True, {"MLFLOW_TRACKING_TOKEN": "x", "SOURCE_AWS_PROFILE": "s"}, {}),
        (PLACE, False, KEY, {}),
        (PLACE, True, KEY, KEY),
        (PLACE, False, {"TARGET_AWS_PROFILE": "t"}, {"AWS_PROFILE": "t"}),
        (
            PLACE,
            False,
            {"MLFLOW_TRACKING_PASSWORD": "p", "TARGET_MLFLOW_TRACKING_USERNAME": "u", "MLFLOW_TRACKING_TOKEN": "t"},
            {"MLFLOW_TRACKING_USERNAME": "u", "MLFLOW_TRACKING_PASSWORD": "p"},
        ),
        (PLACE, False, {"MLFLOW_TRACKING_TOKEN": "t"}, {"MLFLOW_TRACKING_TOKEN": "t"}),
        (
            parse_location("http://me:secret@target", option="--target-uri"),
            False,
            {"MLFLOW_TRACKING_TOKEN": "t", "TARGET_MLFLOW_TRACKING_TOKEN": "t"},
            {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "secret"},
        ),
    ],
)
def test_who_a_model_is_loaded_as(
    location: Location, aws: bool, given: dict[str, str], expected: dict[str, str]
) -> None:
    """The target's own identity, chosen as reading chooses it, and no other."""
    found = environment(location, {**given, "PATH": "/bin"}, aws=aws)
    own = {"PATH", "PYTHONPATH", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_DISABLE_TELEMETRY"}
    assert {name: value for name, value in found.items() if name not in own} == expected
