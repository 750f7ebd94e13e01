"""Names of the images that ``mlflow.log_image(key=…, step=…)`` makes, old and new.

Clients before 3.11 put ``%`` between the parts of such a name, and ``#`` for the slashes of a key. MLflow's artifact
proxy decodes ``%xx``, so it can neither store nor send most of them; newer clients put ``+`` and ``~`` there, and the
newer UI reads both. Names that a proxy has decoded already are read as far as they still tell what they were.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection

_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
#: A part stands behind its ``%``, or has lost that and two characters behind it to one character.
_OLD = re.compile(
    r"images/(?P<key>[a-zA-Z0-9_\-.# ]+)"
    r"%step(?P<step>%-?[0-9]+|[^/][0-9]*)"
    r"%timestamp(?P<time>%-?[0-9]+|[^/][0-9]*)"
    rf"(?P<id>%{_UUID}|[^/]{_UUID.replace('{8}', '{6}', 1)})"
    r"(?P<end>\.png|%compressed\.webp)",
    re.DOTALL,
)


def newer_name(path: str) -> str | None:
    """Return the name under which newer clients would have logged an image; ``None``: it is none of the old names.

    >>> newer_name("images/a#b%step%20%timestamp%1700000000000%c69d6313-188b-4c74-b0eb-578967659d2a.png")
    'images/a~b+step+20+timestamp+1700000000000+c69d6313-188b-4c74-b0eb-578967659d2a.png'
    """
    found = _OLD.fullmatch(path)
    if found is None:
        return None
    step, time, identity = (_whole(found[part]) for part in ("step", "time", "id"))
    end = found["end"].replace("%", "+")
    return f"images/{found['key'].replace('#', '~')}+step+{step}+timestamp+{time}+{identity}{end}"


def newer_names(paths: Collection[str]) -> dict[str, str]:
    """Return the old names among the files of one run, each with its newer one; none that another file has or gets."""
    found = {path: name for path in paths if (name := newer_name(path)) is not None}
    count = Counter(found.values())
    taken = set(paths)
    return {path: name for path, name in found.items() if name not in taken and count[name] == 1}


def _whole(part: str) -> str:
    first = part[0]
    if first == "%" and len(part) > 1:
        return part[1:]
    # what was no UTF-8 was lost when it was decoded, and stays the mark that stands for it
    return f"{ord(first):02x}{part[1:]}" if ord(first) < 0x80 else part
