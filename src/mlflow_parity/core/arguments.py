"""Command lines of our own commands: what is wrong with one is told without a secret."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from mlflow_parity.core.redaction import MASK, Redactor

#: In quotes, or in a word, all between a scheme and the last ``@``: what is refused may be no URL, with any mark in it.
_USER = re.compile(r"(?P<head>'(?:[A-Za-z][\w+.-]*:/+)?)[^']*@|(?<!\S)(?P<scheme>(?:[A-Za-z][\w+.-]*:/+)?)[^\s']*@")
_UNKNOWN = "unrecognized arguments: "


class Parser(argparse.ArgumentParser):
    """A parser that repeats no value that might be a secret; its subcommands have parsers of this class."""

    def error(self, message: str) -> NoReturn:
        """End the process with status 2 and the message."""
        if message.startswith(_UNKNOWN):
            message = _UNKNOWN + _told(message.removeprefix(_UNKNOWN))
        super().error(Redactor.from_environment()(_masked(message)))


def _masked(text: str) -> str:
    return _USER.sub(lambda found: f"{found['head'] or found['scheme'] or ''}{MASK}@", text)


def _told(left: str) -> str:
    """Return the options among arguments, without their values, which may be passwords; all where none is an option."""
    words = left.split()
    options = [word.partition("=")[0] if word.startswith("--") else word[:2] for word in words if word[:1] == "-"]
    # as one text: a password with a space in it is two words
    return " ".join(options) or _masked(f"'{left}'")[1:-1]
