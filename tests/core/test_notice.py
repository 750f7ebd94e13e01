"""What is wrong, why and what to do reads the same wherever it is said: in one line, in three, and as JSON."""

from __future__ import annotations

from mlflow_parity.core.notice import Notice, notices_json, notices_text
from mlflow_parity.core.redaction import Redactor


def test_it_is_said_in_one_line_and_in_several() -> None:
    """Without the cause or the fix a reader knows that something is wrong, and not what to do about it."""
    whole = Notice("error", "app", "the App is Deleting", "it must be Created", "pass a different App")
    assert str(whole) == "the App is Deleting: it must be Created; pass a different App"
    assert whole.lines() == [
        "error    the App is Deleting",
        "           why: it must be Created",
        "           fix: pass a different App",
    ]
    assert str(Notice("note", "app", "the App's MLflow", "3.10")) == "the App's MLflow: 3.10"
    assert Notice("note", "x", "nothing to do").lines() == ["note     nothing to do"]


def test_the_worst_stands_first_and_no_secret_is_printed() -> None:
    """An error below twenty notes is overlooked; a secret in a server's message would be in every log."""
    redact = Redactor(["hunter2hunter2"])
    found = [Notice("note", "a", "first"), Notice("error", "b", "then", "it said hunter2hunter2\x1b[2J")]
    lines = notices_text(found, redact)
    assert lines[0].startswith("error")
    assert not any("hunter2" in line or "\x1b" in line for line in lines)
    assert [one["code"] for one in notices_json(found, redact)] == ["b", "a"]
    assert "hunter2" not in str(notices_json(found, redact))
