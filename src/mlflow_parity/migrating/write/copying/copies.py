"""Brings files that were left in S3 to the target: the best way of each, what came of it, and what is said of it."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock, Semaphore
from typing import Any, Literal, NamedTuple, TypeVar

from mlflow_parity.core.errors import ParityError, ReadError, no_space
from mlflow_parity.core.identity.sums import Left
from mlflow_parity.core.local.files import make_inside
from mlflow_parity.core.records import Artifact
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.text import counted
from mlflow_parity.migrating.write.copying.deciding import Refusals, code_of, is_refusal, one_service, status_of, way_of
from mlflow_parity.migrating.write.copying.proving import is_kept, is_proved
from mlflow_parity.migrating.write.copying.repeating import Repeating
from mlflow_parity.migrating.write.copying.sending import Checksums, copy_in_parts, copy_whole, spool, stream
from mlflow_parity.migrating.write.s3_leftovers import Kept

Failure = TypeVar("Failure", bound=ParityError)
#: What came of a copy that S3 was asked for.
Came = Literal["copied", "unproved", "refused"]
#: Copies under way at once at most, parts of large ones beside them, and files that pass through this machine.
_MOST, _PARTS_AT_ONCE, _STREAMS, _TRIES = 32, 8, 4, 3
#: What an S3 answers where the source is not what was listed any more.
_CHANGED = (409, 412)


class NotCopied(ReadError):
    """A file that was left in S3 did not come to the target; the message says why."""


class _Clients(NamedTuple):
    source: Any
    target: Any
    copying: Repeating
    checksums: Checksums
    one_service: bool


class Copies:
    """Copies files of the source's S3; safe to use from many threads.

    ``source`` and ``target`` give the clients of the two sides: the target's asks for copies, as it writes there; the
    source's reads what is not copied. ``folder`` is for what goes to a target that is not S3, one file at a time.
    """

    def __init__(
        self,
        source: Callable[[], Any],
        target: Callable[[], Any],
        folder: Path,
        say: Callable[[str], object],
        *,
        workers: int,
    ) -> None:
        self._from = source
        self._to = target
        self._folder = folder
        self._say = say
        self._clients: _Clients | None = None
        self._refusals = Refusals()
        self._lock = Lock()
        self._streams = Semaphore(_STREAMS)
        self._told: set[tuple[str, str]] = set()
        self._done = Counter[str]()
        # no thread of these begins before there is work
        self._pool = ThreadPoolExecutor(min(_MOST, 4 * workers), thread_name_prefix="parity-copy")
        self._parts = ThreadPoolExecutor(_PARTS_AT_ONCE, thread_name_prefix="parity-copy-part")

    def close(self) -> None:
        """End the threads."""
        for pool in (self._pool, self._parts):
            pool.shutdown(wait=True, cancel_futures=True)

    def all(
        self, files: Iterable[Artifact], one: Callable[[Artifact], int], failure: type[Failure]
    ) -> Iterator[tuple[Artifact, int | Failure]]:
        """Yield each file with what ``one`` returned, or the failure that it raised, side by side."""

        def tried(file: Artifact) -> tuple[Artifact, int | Failure]:
            try:
                return file, one(file)
            except failure as error:
                return file, error

        yield from self._pool.map(tried, files)

    def to_s3(self, file: Artifact, left: Left, bucket: str, key: str, kept: Kept | None) -> bool:
        """Bring a file to a place in S3; false where it is there already.

        Raises:
            NotCopied: it could not be brought there.
        """
        if kept is not None and is_kept(file, left, kept):
            return False
        if (left.bucket, left.key) == (bucket, key) and self._both.one_service:
            raise NotCopied("the target keeps it where the source does: it would be written onto itself")
        pair = (left.bucket, bucket)
        came: Came = "refused"
        if not self._both.one_service:
            self._tell(pair, "their S3 are two services", "")
        elif not self._refusals.given_up(pair):
            came = self._copied(file, left, bucket, key, pair)
        if came == "copied":
            return True
        try:
            self._streamed(file, left, bucket, key)
        except NotCopied:
            if came == "unproved":
                # what nothing proves does not stay; an S3 that keeps no condition may have copied another file
                with suppress(Exception):
                    self._both.target.delete_object(Bucket=bucket, Key=key)
            raise
        return True

    def spooled(self, file: Artifact, left: Left, put: Callable[[Path, int], object]) -> None:
        """Bring a file to a place that is not in S3: through the disk, alone, and removed at once.

        Raises:
            NotCopied: it could not be read.
            Exception: whatever ``put`` raises.
        """
        make_inside(self._folder)
        with self._streams, tempfile.NamedTemporaryFile(dir=self._folder, prefix="part-") as kept:
            try:
                spool(self._both.source, file, left, kept.write)
                kept.flush()
            except Exception as error:
                raise self._failed(error) from None
            put(Path(kept.name), file.size or 0)
        self._count("streamed")

    def taken_out(self) -> dict[str, int]:
        """Return how many files came which way since this was asked last."""
        with self._lock:
            found = dict(self._done)
            self._done.clear()
        return found

    def take_in(self, counts: Mapping[str, int]) -> None:
        """Count what others have brought."""
        with self._lock:
            self._done.update(counts)

    @property
    def told(self) -> str:
        """What came of it, in one line; empty: nothing was left in S3."""
        with self._lock:
            copied, streamed = self._done["copied"], self._done["streamed"]
        if not (copied or streamed):
            return ""
        more = f"; {counted(streamed, 'files')} passed through this machine" if streamed else ""
        return f"S3 copied {counted(copied, 'files')} by itself, each proved by its checksums{more}"

    # --- one file

    def _copied(self, file: Artifact, left: Left, bucket: str, key: str, pair: tuple[str, str]) -> Came:
        """Have S3 copy a file; say whether it did, and provably."""
        way = way_of(file, left)
        if way == "stream":
            self._tell(pair, "no checksum that the source states would prove some of the copies", "")
            return "refused"
        try:
            if way == "whole":
                answer = copy_whole(self._both.copying, self._both.checksums, file, left, bucket, key)
            else:
                answer = copy_in_parts(self._both.target, self._both.checksums, file, left, bucket, key, self._parts)
        except Exception as error:
            if isinstance(error, ReadError):
                self._tell(pair, f"some files: {error}", "")
                return "refused"
            if not is_refusal(error):
                raise self._failed(error) from None
            self._refusals.refused(pair)
            rights = f"; allow the target's identity s3:GetObject on {left.bucket}" if status_of(error) == 403 else ""
            self._tell(pair, f"{code_of(error)}: {_words(error)}", rights)
            return "refused"
        proved = is_proved(file, left, answer, bucket)
        if proved:
            self._refusals.copied(pair)
            self._count("copied")
            return "copied"
        self._refusals.refused(pair)
        why = "what the target states of some copies is " + ("not" if proved is None else "another checksum than")
        self._tell(pair, f"{why} what the source states", "")
        return "unproved"

    def _streamed(self, file: Artifact, left: Left, bucket: str, key: str) -> None:
        for tried in range(1, _TRIES + 1):
            try:
                with self._streams:
                    stream(self._both.source, self._both.target, file, left, bucket, key)
                break
            except Exception as error:
                # botocore has tried again for an answer, and leaves a body that breaks off to us
                if tried == _TRIES or status_of(error) or no_space(error):
                    raise self._failed(error) from None
        self._count("streamed")

    def _failed(self, error: Exception) -> ParityError:
        if full := no_space(error):
            return full
        if isinstance(error, ParityError):
            return NotCopied(str(error))
        if status_of(error) in _CHANGED:
            return NotCopied("it changed at the source while it was moved; run it again")
        return NotCopied(f"S3: {code_of(error)}: {_words(error)}")

    # --- what it consists of

    @property
    def _both(self) -> _Clients:
        with self._lock:
            if self._clients is None:
                source, target = self._from(), self._to()
                one = one_service(str(source.meta.endpoint_url), str(target.meta.endpoint_url))
                self._clients = _Clients(source, target, Repeating(target), Checksums(target), one)
            return self._clients

    def _count(self, what: str) -> None:
        with self._lock:
            self._done[what] += 1

    def _tell(self, pair: tuple[str, str], why: str, fix: str) -> None:
        """Say once why files of a bucket pass through this machine."""
        with self._lock:
            known = pair in self._told
            self._told.add(pair)
        if not known:
            source, target = pair
            self._say(f"S3 does not copy all files of {source} to {target} by itself ({why}): they pass through{fix}")


def _words(error: Exception) -> str:
    # a message of the service may print back what it was sent
    return Redactor.from_environment()(" ".join(str(error).split()))[:300]
