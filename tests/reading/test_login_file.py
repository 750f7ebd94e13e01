"""MLflow's own file of credentials, ``~/.mlflow/credentials``: read as MLflow's client reads it, and never printed."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import pytest
import requests
from mlflow.utils.credentials import get_default_host_creds

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.locations import parse_location
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.reading.transport.answering import shared_credentials
from mlflow_parity.reading.transport.auth import LOGIN_FILE, credentials

HERE, THERE = (parse_location(f"http://{name}.example.org", option="--source-uri") for name in ("one", "two"))
USER, WORD, TOKEN = (f"MLFLOW_TRACKING_{word}" for word in ("USERNAME", "PASSWORD", "TOKEN"))
BOTH = "[mlflow]\nmlflow_tracking_username = grace\nmlflow_tracking_password = kept-w0rd-9\n"


def _kept(home: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(home))
    for name in (USER, WORD, TOKEN):
        monkeypatch.delenv(name, raising=False)
    (home / ".mlflow").mkdir()
    (home / ".mlflow" / "credentials").write_text(text)


def _header(side: str = "source") -> str:
    request = requests.Request("GET", "http://one.example.org").prepare()
    found = credentials(HERE, "target" if side == "target" else "source").auth(request)
    return str(found.headers.get("Authorization", ""))


@pytest.mark.parametrize("env", [{}, {USER: "ada"}, {WORD: "an0ther-word"}, {TOKEN: "a-t0ken-of-mine"}], ids=str)
@pytest.mark.parametrize(
    "text",
    [
        BOTH,
        BOTH.replace("9", "%%9"),
        "[other]\nmlflow_tracking_username = x\n",
        "[MLFLOW]\n",
        BOTH.replace("=", ":"),
        "",
    ],
    ids=["both", "percent", "another section", "capitals", "colons", "empty"],
)
def test_it_is_read_as_mlflow_reads_it(
    text: str, env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who logged in once for MLflow's client need not do so again for this tool."""
    _kept(tmp_path, text, monkeypatch)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    theirs = get_default_host_creds("http://one.example.org")
    if theirs.username and theirs.password:
        sent = b64decode(_header().removeprefix("Basic ")).decode()
        assert sent == f"{theirs.username}:{theirs.password}"
    elif theirs.token or not (theirs.username or theirs.password):
        assert _header() == (f"Bearer {theirs.token}" if theirs.token else "")
    else:
        # half a login: MLflow's client sends nothing, and says nothing
        with pytest.raises(UsageProblem, match="is not set, but its counterpart is"):
            _header()


def test_it_is_never_printed_and_a_sides_own_variables_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password of the file is as secret as one of a variable; who gives a side its own login means that."""
    _kept(tmp_path, BOTH, monkeypatch)
    assert _header()
    assert "kept-w0rd-9" not in Redactor.from_environment()("the server says: kept-w0rd-9 is wrong")
    monkeypatch.setenv(f"TARGET_{TOKEN}", "only-for-the-target")
    assert _header("target") == "Bearer only-for-the-target"
    assert shared_credentials(HERE, THERE, {f"TARGET_{TOKEN}": "only-for-the-target"}) == []
    [note] = shared_credentials(HERE, THERE, {})
    assert LOGIN_FILE in note


@pytest.mark.parametrize("text", ["mlflow_tracking_password = kept-w0rd-9\n", BOTH.replace("9", "%9"), BOTH + BOTH])
def test_one_that_cannot_be_read_is_one_line(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad input is a line without what the file holds, and no traceback."""
    _kept(tmp_path, text, monkeypatch)
    with pytest.raises(UsageProblem, match=r"\[mlflow\]") as raised:
        _header()
    assert "w0rd" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("word", ["a9z!", "pa55w", "Sécr3t", "p%%q7"])
def test_a_short_password_is_hidden_too(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may echo what it refuses: a password of four characters is one, wherever it was given."""
    _kept(tmp_path, BOTH.replace("kept-w0rd-9", word), monkeypatch)
    header = _header()
    sent = word.replace("%%", "%")
    assert b64decode(header.removeprefix("Basic ")).decode() == f"grace:{sent}"
    told = Redactor.from_environment()(f"refused: {sent} is wrong ({header})")
    assert sent not in told
    assert header.removeprefix("Basic ") not in told


OWN: tuple[dict[str, str], ...] = ({TOKEN: "a-t0ken-of-its-own"}, {USER: "ada", WORD: "an0ther-word"})


@pytest.mark.parametrize("own", OWN, ids=["a token", "name and password"])
def test_a_side_with_its_own_login_does_not_read_it(
    own: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged file that nothing needs must not end an audit; who needs it hears of it, in one line."""
    _kept(tmp_path, "[mlflow\nmlflow_tracking_password = kept-w0rd-9\n", monkeypatch)
    for name, value in own.items():
        monkeypatch.setenv(f"TARGET_{name}", value)
    assert _header("target")
    with pytest.raises(UsageProblem, match=r"~/\.mlflow/credentials cannot be read"):
        _header("source")
    for name, value in own.items():
        monkeypatch.setenv(f"SOURCE_{name}", value)
    assert _header("source")
    env = {f"{side}_{name}": value for side in ("SOURCE", "TARGET") for name, value in own.items()}
    assert shared_credentials(HERE, THERE, env) == []


def test_nobody_reads_it_where_both_variables_are_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables for both sides win over the file: what it holds, or that it is damaged, is nobody's concern."""
    _kept(tmp_path, "[mlflow\n", monkeypatch)
    monkeypatch.setenv(USER, "ada")
    monkeypatch.setenv(WORD, "an0ther-word")
    assert b64decode(_header().removeprefix("Basic ")).decode() == "ada:an0ther-word"
    [note] = shared_credentials(HERE, THERE, {USER: "ada", WORD: "an0ther-word"})
    assert LOGIN_FILE not in note
    monkeypatch.delenv(USER)
    with pytest.raises(UsageProblem, match="cannot be read"):
        _header()


def test_half_a_login_of_a_sides_own_is_filled_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of the side's own lacks the password that both share, and that stands in the file."""
    _kept(tmp_path, BOTH, monkeypatch)
    monkeypatch.setenv(f"TARGET_{USER}", "ada")
    assert b64decode(_header("target").removeprefix("Basic ")).decode() == "ada:kept-w0rd-9"
    assert b64decode(_header("source").removeprefix("Basic ")).decode() == "grace:kept-w0rd-9"
