"""A folder or a place in S3 that this process and all workers read and write."""

from __future__ import annotations

import os
import secrets
import shutil
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.local.files import file_sha256, make_folder, make_inside, put, temporary
from mlflow_parity.core.locations import given_path
from mlflow_parity.reading.artifacts.trusted_places import given_places

_S3 = "s3://"
#: Where S3 is, where it is not where AWS has it; the first that is set.
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_FIX = "give a folder or s3:// URI that this process and all workers may read and write"


class SharedPlace:
    """Files by their names in a folder, or below a prefix in S3 (with the caller's own credentials).

    ``option`` is the one that names it.
    """

    def __init__(self, place: str, option: str) -> None:
        self.place = place
        self._option = option
        self._files: Any = None
        if not place.startswith(_S3):
            self._root = str(given_path(place, option, _FIX).absolute())
            return
        # as with --parity-allow-place: one bucket, and a prefix
        given_places(place, option)
        self._root = place.removeprefix(_S3).rstrip("/")
        try:
            self._files = _s3()
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self._problem("opened", error) from None

    def put(self, local: Path, name: str) -> str:
        """Give a file a name, whole or not at all; return its SHA-256.

        Raises:
            UsageProblem: it cannot be written.
        """
        try:
            if self._files is None:
                target = Path(self._root, name)
                make_folder(Path(self._root))
                # whoever is let into the place is let into what this audit puts there
                make_inside(target.parent)
                made = temporary(target)
                try:
                    shutil.copyfile(local, made)
                    put(made, target)
                finally:
                    made.unlink(missing_ok=True)
            else:
                with local.open("rb") as source, self._files.open_output_stream(f"{self._root}/{name}") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self._problem("written", error) from None
        return file_sha256(local)

    def get(self, name: str, local: Path, checksum: str) -> None:
        """Copy a file to this machine.

        Raises:
            UsageProblem: it is not there, or not the one whose SHA-256 (hex) was told.
        """
        try:
            if self._files is None:
                shutil.copyfile(Path(self._root, name), local)
            else:
                with self._files.open_input_stream(f"{self._root}/{name}") as source, local.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self._problem("read", error) from None
        if file_sha256(local) != checksum:
            raise UsageProblem(
                f"{self._option}: {self.place}: {name} is not what was written there: it was cut or altered; try again"
            )

    def clear(self, name: str) -> None:
        """Remove a folder with all that is in it; one that cannot be removed stays."""
        with suppress(OSError, ValueError, pa.ArrowException):
            if self._files is None:
                shutil.rmtree(Path(self._root, name), ignore_errors=True)
            else:
                self._files.delete_dir(f"{self._root}/{name}")

    def _problem(self, what: str, error: Exception) -> UsageProblem:
        why = getattr(error, "strerror", None) or " ".join(str(error).split())[:300]
        # its value may hold a password
        named = _endpoint()[0] if self.place.startswith(_S3) else ""
        also = f", and see whether {named} is the address of S3" if named else ""
        return UsageProblem(f"{self._option}: {self.place} cannot be {what} ({why}); {_FIX}{also}")


def _endpoint() -> tuple[str, str]:
    """Return the variable that says where S3 is, and what it says; both empty: where AWS has it."""
    return next(((name, value) for name in _ENDPOINTS if (value := os.environ.get(name))), ("", ""))


def _s3() -> Any:
    from pyarrow.fs import S3FileSystem

    _, endpoint = _endpoint()
    scheme, _, host = endpoint.rpartition("://")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    given = {"endpoint_override": host, "scheme": scheme or "https"} if endpoint else {}
    return S3FileSystem(**given, **({"region": region} if region else {}))


def packed(files: Mapping[str, Path], archive: Path) -> None:
    """Put files and folders into one archive, by their names."""
    with zipfile.ZipFile(archive, "w") as packing:
        for name, path in files.items():
            for one in [path] if path.is_file() else sorted(path.rglob("*")):
                if one.is_file():
                    packing.write(one, Path(name, one.relative_to(path)))


def unpacked(archive: Path, folder: Path) -> None:
    """Take an archive apart.

    Raises:
        ValueError: it is damaged.
    """
    try:
        with zipfile.ZipFile(archive) as packing:
            packing.extractall(folder)
    except zipfile.BadZipFile as error:
        raise ValueError(str(error)) from None


def new_name() -> str:
    """Return a name that nobody else has."""
    return secrets.token_hex(8)
