"""What was given as keyword arguments: the command's own options, by their names in Python."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, NoReturn

from mlflow_parity import options
from mlflow_parity.core.errors import UsageProblem

_FLAG = re.compile(r"--[a-z][a-z-]*[a-z]")
_OURS = "--parity-"


def python_name(flag: str) -> str:
    """Return what an option of the command is called in Python: ``--parity-report-dir`` is ``report_dir``."""
    return flag.removeprefix(_OURS).removeprefix("--").replace("-", "_")


def in_python(text: str, names: Collection[str]) -> str:
    """Return a message in which options of these names are called as whoever calls from Python gave them."""

    def called(found: re.Match[str]) -> str:
        name = python_name(found[0])
        return name if name in names else found[0]

    return _FLAG.sub(called, text)


def audit_names() -> list[str]:
    """Return the names of all options of an audit."""
    return [*_ENDS, *(python_name(option.flag) for option in options.OPTIONS)]


#: Short for the addresses: an ARN is one too.
_ENDS = ("source", "target")


def audit_values(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of an audit's options as the command has them: given, else of the environment, else default.

    Raises:
        UsageProblem: one line for a name that is not known, or a value that no option has.
    """
    given = _with_ends(given)
    refuse_unknown(given, audit_names())
    found = argparse.Namespace()
    for option in options.OPTIONS:
        value = given.get(python_name(option.flag))
        if value is not None:
            setattr(found, option.dest, text_of(python_name(option.flag), value, many=option.kind == "list"))
    return options.raw_values(None, given=found)


def _with_ends(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with ``source`` and ``target`` under the name that the command has for them."""
    found = {name: value for name, value in given.items() if value is not None}
    for end in _ENDS:
        if end in found:
            long = [name for name in (f"{end}_uri", f"{end}_arn") if name in found]
            if long:
                raise UsageProblem(f"{end} and {long[0]} exclude each other; give one of them")
            found[f"{end}_uri"] = found.pop(end)
    return found


def refuse_unknown(given: Iterable[str], known: Collection[str]) -> None:
    """Refuse a name that no option has.

    Raises:
        UsageProblem: one line, with the nearest name that one has.
    """
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, 1, 0.5)
            more = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
            raise UsageProblem(f"{name!r} is no option; {more}")


def text_of(name: str, value: Any, *, many: bool = False) -> str:
    """Return a value as a flag of the command would have it.

    Raises:
        UsageProblem: one line for a value that is no text, number, path, truth or (where there may be several) list.
    """
    if many and isinstance(value, (list, tuple, set, frozenset)):
        return ",".join(text_of(name, one) for one in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    what = "a text, a path or a list of them" if many else "a text, a number or a path"
    raise UsageProblem(f"{name}: a value of type {type(value).__name__} is none that this option has; give {what}")


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is an error, not the end of the process."""

    def error(self, message: str) -> NoReturn:
        """Raise it."""
        raise UsageProblem(message.removeprefix("argument "))


def parsed(parser: Parser, given: Mapping[str, Any]) -> argparse.Namespace:
    """Return what a command's parser makes of options that were given by their names in Python.

    Raises:
        UsageProblem: one line for a name that is not known, or a value that the parser refuses.
    """
    given = _with_ends(given)
    actions = {python_name(one.option_strings[-1]): one for one in parser._actions if one.option_strings}
    refuse_unknown(given, [*actions, *(end for end in _ENDS if f"{end}_uri" in actions)])
    arguments = []
    for name, value in given.items():
        action = actions[name]
        flag = action.option_strings[-1]
        if action.nargs == 0:
            if not isinstance(value, bool):
                raise UsageProblem(f"{name}: {str(value)!r} is neither True nor False")
            arguments += [flag] if value else []
        else:
            arguments.append(f"{flag}={text_of(name, value, many=isinstance(action, argparse._AppendAction))}")
    try:
        return parser.parse_args(arguments)
    except UsageProblem as problem:
        raise UsageProblem(in_python(str(problem), [*actions])) from None
