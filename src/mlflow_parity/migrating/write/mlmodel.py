"""Files named ``MLmodel`` on their way to the target: the ids in them become the target's, every other byte stays."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlflow_parity.comparing.trees import ModelIds, compare_mlmodel, load_mlmodel, parses

Lookup = Callable[[str], str | None]
_TOP = re.compile(r"""^(["']?)(run_id|model_id|model_uuid)\1\s*:\s*(["']?)([^\s"'#,}]+)\3""")
#: Below the top level a run's id is data, not the run that the model belongs to.
_NESTED_RUN = re.compile(r"""^\s+(?:- )*["']?run_id["']?\s*:""")


@dataclass(frozen=True, slots=True)
class Place:
    """Whose file it is: a run, or a logged model or model version with its run (empty: none)."""

    run_id: str
    artifact_uri: str


def model_ids(content: bytes) -> set[str]:
    """Return the ids of logged models that an ``MLmodel`` names as its own."""
    found = (_TOP.match(line) for line in content.decode("utf-8", "replace").splitlines())
    return {match[4] for match in found if match and match[2] != "run_id" and match[4].startswith("m-")}


def rewritten(content: bytes, source: Place, target: Place, runs: Lookup, models: Lookup) -> bytes:
    """Return an ``MLmodel`` of ``source`` as that of ``target``.

    ``runs`` and ``models`` give the target's id for a source id, where there is a copy. A file that is no YAML mapping
    stays as it is, and so does one whose aliases multiply without end: nothing could be told of it.
    """
    if parses(content) is not None:
        return content
    text = content.decode("utf-8", "surrogateescape")
    lines = [_line(line, source, target, runs, models) for line in text.splitlines(keepends=True)]
    new = "".join(lines).encode("utf-8", "surrogateescape")
    if _is_right(content, new, source, target, runs, models):
        return new
    # written in a way that lines do not tell (on one line, as JSON): written again, as the tool always does
    return _anew(content, source, target, runs, models)


def _line(line: str, source: Place, target: Place, runs: Lookup, models: Lookup) -> str:
    top = _TOP.match(line)
    if top:
        old = top[4]
        known = _known(top[2], old, source, target, runs, models)
        return line if known is None else line[: top.start(4)] + known + line[top.end(4) :]
    if _NESTED_RUN.match(line):
        return line
    if source.artifact_uri:
        line = line.replace(source.artifact_uri, target.artifact_uri)
    return line.replace(source.run_id, target.run_id) if source.run_id and target.run_id else line


def _known(key: str, old: str, source: Place, target: Place, runs: Lookup, models: Lookup) -> str | None:
    if key == "run_id":
        return runs(old) or (target.run_id if old == source.run_id and target.run_id else None)
    return models(old)


def _anew(content: bytes, source: Place, target: Place, runs: Lookup, models: Lookup) -> bytes:
    import yaml

    def through(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: item if key == "run_id" else through(item) for key, item in value.items()}
        if isinstance(value, list):
            return [through(item) for item in value]
        if isinstance(value, str) and source.artifact_uri:
            value = value.replace(source.artifact_uri, target.artifact_uri)
        if isinstance(value, str) and source.run_id and target.run_id:
            value = value.replace(source.run_id, target.run_id)
        return value

    loaded: dict[Any, Any] = load_mlmodel(content)
    own = {key: str(loaded[key]) for key in ("run_id", "model_id", "model_uuid") if loaded.get(key) is not None}
    found = {key: _known(key, old, source, target, runs, models) for key, old in own.items()}
    new = {**loaded, **{key: value for key, value in through(loaded).items() if key not in own}}
    new.update({key: value for key, value in found.items() if value is not None})
    return yaml.safe_dump(new, sort_keys=False, allow_unicode=True).encode()


def _is_right(old: bytes, new: bytes, source: Place, target: Place, runs: Lookup, models: Lookup) -> bool:
    """Whether the audit will take it for the copy; YAML has more ways to write a thing than are rewritten here."""
    loaded = load_mlmodel(old)
    run = str(loaded.get("run_id"))
    known, model = runs(run), str(loaded.get("model_id"))
    copy = models(model)
    pairs = {run: known} if known else {}
    ids = ModelIds({model: copy} if copy else None)
    return all(found.state.green for found in compare_mlmodel("MLmodel", old, new, source, target, pairs, ids))
