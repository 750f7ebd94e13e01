"""What an answer means: JSON, an error of MLflow's own, or a failure that may pass."""

from __future__ import annotations

import email.utils
import json
import time
from contextlib import suppress
from typing import Any

import orjson

from mlflow_parity.core.errors import MalformedAnswer
from mlflow_parity.reading.transport.refusals import page_for_json


class Again(Exception):
    """This try failed in a way that may pass; ``wait`` is what the server asked for, in seconds."""

    def __init__(self, why: str, *, wait: float | None = None, status: int = 0, code: str = "", fix: str = "") -> None:
        super().__init__(why)
        self.fix = fix
        self.wait = wait
        self.status = status
        self.code = code


class NotJson(Again):
    """An answer that is no JSON object; a cut one may be whole the next time."""


def parse(content: bytes) -> Any:
    """Parse JSON; MLflow writes a bare ``NaN``, which is none, in some answers.

    Raises:
        ValueError: it is not even that.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return json.loads(content)


def parsed(content: bytes, endpoint: str = "") -> dict[str, Any]:
    """Return the JSON object that an answer must be; ``endpoint`` is the address that was given.

    Raises:
        NotJson: it is none.
        MalformedAnswer: it is MLflow's error, with a status that says all is well.
    """
    try:
        found = parse(content)
    except (ValueError, RecursionError):
        if content.lstrip().startswith(b"<"):
            what, fix = page_for_json(endpoint)
            raise NotJson(what, fix=fix) from None
        raise NotJson("the answer is not JSON") from None
    if not isinstance(found, dict):
        raise NotJson("the answer is not a JSON object")
    if "error_code" in found:
        raise MalformedAnswer(f"status 200, and an error in it: {found['error_code']}: {found.get('message', '')}")
    return found


def error_of(text: str) -> tuple[str, str]:
    """Return MLflow's error code and the message; nothing of an HTML page."""
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        if isinstance(found, dict):
            code = str(found.get("error_code", ""))
            # the routes of FastAPI say what is wrong as "detail"
            return code, str(found.get("message", found.get("error_code", found.get("detail", ""))))
    return "", "" if text.lstrip().startswith("<") else text


def reason(error: BaseException) -> str:
    """Name a failure by its innermost cause, without the object addresses that urllib3 prints."""
    seen: BaseException = error
    while (inner := seen.__cause__ or seen.__context__) is not None and inner is not seen:
        seen = inner
    text = str(seen).split(">: ")[-1]
    return f"{type(error).__name__}: {text}"


def retry_after(given: str | None, most: float) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for (a number or a date), at the most ``most``."""
    text = (given or "").strip()
    seconds: float | None = None
    if text.isdecimal():
        seconds = float(text)
    elif text:
        with suppress(TypeError, ValueError):
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    return None if seconds is None else min(max(seconds, 0.0), most)
