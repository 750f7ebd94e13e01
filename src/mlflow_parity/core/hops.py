"""Source tags of a copy of a copy: a migration keeps those that its source has itself, each one hop further.

``mlflow_exim.run_info.run_id`` names the run that a copy was made of, ``mlflow_exim.hop1.run_info.run_id`` the run of
which that one was a copy, ``mlflow_exim.hop2.…`` the one before. So a server can be audited against the first source
of what it holds, as against the server in between.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mlflow_parity.core.records import EXIM_PREFIX

_HOP = re.compile(re.escape(EXIM_PREFIX) + r"hop([1-9][0-9]*)\.(.*)", re.DOTALL)
_EARLIER = EXIM_PREFIX + "hop"
_LONGEST_KEY = 250


def is_hop(key: str) -> bool:
    """Whether a tag is of an earlier hop."""
    return _HOP.fullmatch(key) is not None


def carried(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the source tags of a source, as its copy keeps them beside its own."""
    found = {}
    for key, value in tags.items():
        hop = _HOP.fullmatch(key)
        number, rest = (int(hop[1]) + 1, hop[2]) if hop else (1, key.removeprefix(EXIM_PREFIX))
        name = f"{EXIM_PREFIX}hop{number}.{rest}"
        # formatted times are no evidence
        if key.startswith(EXIM_PREFIX) and not rest.rpartition(".")[2].startswith("_") and len(name) <= _LONGEST_KEY:
            found[name] = value
    return found


def next_tags(tags: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a copy: the source's, the source tags of this hop (``own``), and those of the hops before."""
    return {**{key: value for key, value in tags.items() if not is_hop(key)}, **own, **carried(tags)}


def layers(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the source tags hop by hop, that of the copy itself first, each as if it were the only one."""
    found: dict[int, dict[str, str]] = {}
    for key, value in tags.items():
        if key.startswith(EXIM_PREFIX):
            hop = _HOP.fullmatch(key)
            number, name = (int(hop[1]), EXIM_PREFIX + hop[2]) if hop else (0, key)
            found.setdefault(number, {})[name] = value
    return [found.get(number, {}) for number in range(max(found, default=-1) + 1)]


def as_copy_of(tags: Mapping[str, str], source: Mapping[str, str], named: Mapping[str, str]) -> Mapping[str, str]:
    """Return the tags of a copy with the source tags of the hop that began at the source.

    ``source`` are the source's own tags, ``named`` the source tags that name it. Where no earlier hop began there, the
    tags are as they are.
    """
    if not any(key.startswith(_EARLIER) for key in tags):
        return tags
    kept = layers(tags)
    # which hop it is tells how many the source has seen itself
    hop = len(kept) - len(layers(source)) - 1
    if hop < 1 or any(kept[hop].get(key) != value for key, value in named.items()):
        return tags
    found = {key: value for key, value in tags.items() if not key.startswith(EXIM_PREFIX)}
    found.update(kept[hop])
    for number, layer in enumerate(kept[hop + 1 :], 1):
        found.update({f"{EXIM_PREFIX}hop{number}.{key.removeprefix(EXIM_PREFIX)}": layer[key] for key in layer})
    return found


def chain(tags: Mapping[str, str], *keys: str) -> list[str]:
    """Return the ids that the source tags name, hop by hop, a slash between the values of several keys."""
    found = []
    for layer in layers(tags):
        if any(key not in layer for key in keys):
            break
        found.append("/".join(layer[key] for key in keys))
    return found
