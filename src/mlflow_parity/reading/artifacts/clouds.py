"""Google Cloud Storage and Azure's blobs, by fsspec's file systems: places that the caller names (extra ``clouds``)."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from mlflow_parity.core.errors import MalformedAnswer, ReadError, UsageProblem
from mlflow_parity.core.records import Artifact
from mlflow_parity.core.scope import Evidence
from mlflow_parity.reading.artifacts.disk import Way
from mlflow_parity.reading.artifacts.stated.checksums import Stated
from mlflow_parity.reading.transport.bounds import at_most

T = TypeVar("T")
#: The library of each scheme.
SCHEMES = {"gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs"}
#: A bucket, or a container of Azure, whose account may stand behind it.
_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]*(@[A-Za-z0-9.-]+)?")
_PIECE = 1 << 20


def scheme_of(uri: str) -> str:
    """Return the scheme of a place in one of these clouds; empty: it is in none."""
    scheme, found, _ = uri.partition("://")
    return scheme if found and scheme in SCHEMES else ""


def reduced(uri: str) -> tuple[str, str]:
    """Return a place under the one name that its schemes share, and the account of Azure that it names, if it does.

    >>> reduced("gcs://bucket/x"), reduced("abfss://box@Team.dfs.core.windows.net/x")
    (('gs://bucket/x', ''), ('az://box/x', 'team'))
    """
    scheme, _, rest = uri.partition("://")
    if SCHEMES[scheme] == "gcsfs":
        return f"gs://{rest}", ""
    bucket, slash, folder = rest.partition("/")
    container, _, host = bucket.partition("@")
    return f"az://{container}{slash}{folder}", host.partition(".")[0].lower()


def checked(uri: str, option: str) -> str:
    """Return a place in a cloud that an option names, without a slash at its end.

    Raises:
        UsageProblem: it is no plain one, or the library for it is not installed.
    """
    scheme = scheme_of(uri)
    rest = uri.removeprefix(f"{scheme}://").rstrip("/")
    parts = rest.split("/")
    odd = any(part in (".", "..") or "*" in part or "?" in part or "#" in part for part in parts)
    if odd or not all(parts) or _BUCKET.fullmatch(parts[0]) is None:
        raise UsageProblem(
            f"{option}: {uri!r} names no place; pass {scheme}://BUCKET or {scheme}://BUCKET/FOLDER, without wildcards "
            "and without . or .. in it"
        )
    if importlib.util.find_spec(SCHEMES[scheme]) is None:
        raise UsageProblem(
            f'{option}: {uri} needs {SCHEMES[scheme]}, which is not installed: pip install "mlflow-parity[clouds]"'
        )
    return f"{scheme}://{rest}"


@lru_cache(maxsize=8)
def _file_system(root: str) -> tuple[Any, str]:
    # gcsfs would ask for the kind of each bucket, for a minute where it is not told
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    from fsspec.core import url_to_fs

    # STORAGE_EMULATOR_HOST is read by the library itself; an emulator takes no login
    more = {"token": "anon"} if root.startswith("g") and os.environ.get("STORAGE_EMULATOR_HOST") else {}
    system, path = url_to_fs(root, use_listings_cache=False, **more)
    return system, str(path)


class CloudStore:
    """What lies below a folder of a place; a :class:`~mlflow_parity.reading.artifacts.stores.Store`."""

    def __init__(self, root: str, folder: str) -> None:
        self._root = root
        self._folder = folder

    def _opened(self) -> tuple[Any, str]:
        system, path = _tried(lambda: _file_system(self._root), self._root)
        return system, f"{path}/{self._folder}"

    def files(self) -> Iterator[Artifact]:
        """Every file.

        Raises:
            ReadError: they cannot be listed.
        """
        system, folder = self._opened()
        found = _tried(lambda: system.find(folder, detail=True), f"{self._root}/{self._folder}")
        for path, told in sorted(found.items()):
            size = told.get("size")
            if not path.startswith(f"{folder}/") or not isinstance(size, int):
                raise MalformedAnswer(f"the listing of {self._root}/{self._folder} names {path!r}")
            yield Artifact(path[len(folder) + 1 :], size)

    def ways(self, file: Artifact) -> Sequence[Way]:
        """The library's stream."""

        def way(receive: Callable[[Iterator[bytes]], T]) -> T:
            system, folder = self._opened()
            name = f"{folder}/{file.path}"

            def once() -> T:
                with system.open(name, "rb", block_size=_PIECE, cache_type="readahead") as opened:
                    return receive(at_most(iter(lambda: opened.read(_PIECE), b""), file.size))

            return _tried(once, f"{self._root}/{self._folder}/{file.path}")

        return [way]

    def stated(self, file: Artifact, evidence: Evidence) -> Stated:
        """Nothing is taken from a store that is read by another's library."""
        return Stated()


def _tried(once: Callable[[], T], what: str) -> T:
    try:
        return once()
    except ReadError:
        raise
    except Exception as error:
        # each library has its own errors, and aiohttp's below them
        raise MalformedAnswer(f"{what}: {type(error).__name__}: {' '.join(str(error).split())[:300]}") from None
