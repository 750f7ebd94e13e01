"""``s3://`` stores, read with the auditor's own rights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from mlflow_parity.core.ending import STOPPING
from mlflow_parity.core.errors import MalformedAnswer, ReadError, RequestRefused, TooLarge, TransportError
from mlflow_parity.core.identity.sums import Left, is_whole, stated_in, text, with_report
from mlflow_parity.core.records import Artifact
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.scope import Evidence
from mlflow_parity.reading.artifacts.s3_pages import objects_of
from mlflow_parity.reading.artifacts.shared_listings import SharedListings, Told, place_of
from mlflow_parity.reading.artifacts.stated import checksums
from mlflow_parity.reading.artifacts.stated.attributes import ASKED, Attributes, AttributesOfBuckets, unknown_call
from mlflow_parity.reading.artifacts.stated.checksums import EtagsOfPlaces, Listed, Mark, Stated, etag_is_digest
from mlflow_parity.reading.artifacts.stated.etags import Held
from mlflow_parity.reading.artifacts.stated.held_etags import LARGE
from mlflow_parity.reading.artifacts.stores import Place, Way
from mlflow_parity.reading.statements.checksum_reports import ChecksumReports
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.bounds import at_most
from mlflow_parity.reading.transport.slowing import Patience
from mlflow_parity.reading.transport.timed import until, without_bound

T = TypeVar("T")
#: A file, and what the list tells of its bytes.
_Listed = tuple[Artifact, Listed]
#: Files of a shared place that are kept in memory at most, and those of nobody that are passed over.
_KEPT, _PASSED = 30_000, 5_000
_TRIES = 4
#: Seconds between two tries, growing with each; for one call with all its tries; and between two to a silent S3.
_WAIT = 0.25
SECONDS = 600.0
REST = 30.0
#: Pages in a row that may hold nothing before the end.
_EMPTY_PAGES = 100
#: Bytes per second below which a file is given up.
_SLOWEST = 100_000.0


def bucket_and_prefix(uri: str) -> tuple[str, str]:
    """Return the bucket of an ``s3://`` URI, and what the keys of its files begin with.

    S3 keys are not URL-quoted in MLflow's URIs: "?" and "#" belong to the key. So does the second of two slashes at its
    start, and not those at its end.

    >>> bucket_and_prefix("s3://bucket/a/b/"), bucket_and_prefix("s3://bucket//a"), bucket_and_prefix("s3://bucket")
    (('bucket', 'a/b/'), ('bucket', '/a/'), ('bucket', ''))
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    key = key.rstrip("/")
    return bucket, f"{key}/" if key else ""


class S3Store:
    """``s3://`` URIs: one listing call per thousand files; a :class:`~mlflow_parity.reading.artifacts.stores.Store`."""

    def __init__(
        self,
        client: Any,
        place: Place,
        patience: Patience,
        shared: SharedListings | None = None,
        etags: EtagsOfPlaces | None = None,
        reports: ChecksumReports | None = None,
        attributes: AttributesOfBuckets | None = None,
        *,
        to_be_read: bool = False,
    ) -> None:
        """``to_be_read``: its files are of use only as long as they can be read."""
        self._client = client
        self._place = place
        self._patience = patience
        self._shared = shared
        self._bucket, self._prefix = bucket_and_prefix(place.uri)
        self._told: dict[str, Listed] = {}
        self._sent: dict[str, tuple[str, float | None]] = {}
        """ETag and time of what was sent last, by path."""
        self._etags = etags or EtagsOfPlaces()
        self._reports = reports
        self._attributes = attributes
        self._to_be_read = to_be_read

    def files(self) -> Iterator[Artifact]:
        """Every object below the prefix."""
        for file, told in self._found():
            self._told[file.path] = told
            yield file

    def _found(self) -> Iterable[_Listed]:
        def alone() -> list[_Listed]:
            return self._tried("list", lambda: [*self._listed(self._prefix)])

        if self._shared is None:
            return alone()
        place = self._place
        return self._shared.files(place.uri, place.owner, self._of_all, alone, ended=place.ended)

    def _of_all(self, place: str) -> Told[_Listed]:
        """Return the files of every owner in a place.

        Raises:
            TooLarge: it holds more than is kept, or more of others than of them.
        """

        # its own prefix without its own part: whatever slashes there are
        around = self._prefix.removesuffix(f"{self._place.owner}/artifacts/")
        if around == self._prefix or not (around.endswith("/") or not around):
            raise MalformedAnswer(f"{place} is not around {self._prefix}")

        def once() -> dict[str, list[_Listed]]:
            found: dict[str, list[_Listed]] = {}
            kept = passed = 0
            for file, told in self._listed(around, 2 * (_KEPT + _PASSED)):
                # RUN/artifacts/…, and models/MODEL/artifacts/…
                owner, _, path = file.path.partition("/artifacts/")
                if owner and path:
                    found.setdefault(owner, []).append((Artifact(path, file.size), told))
                    kept += 1
                else:
                    passed += 1
                if kept > _KEPT or passed > _PASSED + kept:
                    raise TooLarge(f"{place} holds too much")
            return found

        # S3 lists what begins with these very letters
        return Told(self._tried("list", once), sure=True, deep=True)

    def _listed(self, prefix: str, most: int | None = None) -> Iterator[_Listed]:
        seen: set[str] = set()
        for page in self._pages(prefix):
            for item in page:
                path = item["Key"][len(prefix) :]
                if path in seen:
                    # with a new token each time it would go on for ever
                    raise MalformedAnswer(f"S3: the listing names {path!r} twice")
                seen.add(path)
                if most is not None and len(seen) > most:
                    raise TooLarge(f"{prefix} holds too much")
                if path and not (path.endswith("/") and item["Size"] == 0):
                    yield Artifact(path, int(item["Size"])), checksums.listed(item)

    def _pages(self, prefix: str) -> Iterator[Sequence[Mapping[str, Any]]]:
        """Yield the objects of each page. Each has the whole time: their number is not known before.

        Not botocore's paginator: for it a page that is cut but names no next one is the last.

        Raises:
            MalformedAnswer: a page is none of this list, or there is more, and no way to it.
        """
        turn: dict[str, str] = {}
        seen: set[str] = set()
        empty = 0
        while True:
            with until(time.monotonic() + SECONDS):
                page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, **turn)
            found = objects_of(page, self._bucket, prefix)
            yield found
            token = page.get("NextContinuationToken")
            if not token:
                if page["IsTruncated"]:
                    raise MalformedAnswer("S3: the listing is cut, and its next page is not named")
                return
            if token in seen:
                raise MalformedAnswer("S3: the listing repeats a page token")
            # S3 itself may look at many versions that are deleted and find nothing
            empty = 0 if found else empty + 1
            if empty == _EMPTY_PAGES:
                raise MalformedAnswer(f"S3: the listing gives {empty} empty pages, one after another")
            seen.add(token)
            turn = {"ContinuationToken": token}

    def ways(self, file: Artifact) -> Sequence[Way]:
        """``GetObject``."""

        def get_object(receive: Callable[[Iterator[bytes]], T]) -> T:
            return self._got(file, receive, hold=0 < (file.size or 0) <= LARGE)[0]

        return [get_object]

    def _got(self, file: Artifact, receive: Callable[[Iterator[bytes]], T], *, hold: bool) -> tuple[T, bool | None]:
        """Read a file; ``hold`` its ETag against its bytes, and return whether it is their digest.

        Raises:
            ReadError: S3 does not send it.
            UsageProblem: its ETag is not the digest of its bytes, and others were believed.
        """
        key = self._prefix + file.path

        def once() -> tuple[T, str, Held | None]:
            self._sent.pop(file.path, None)
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
            sent = checksums.listed(answer)
            held = Held(sent.etag, file.size) if hold and etag_is_digest(answer, self._bucket) else None
            body = answer["Body"]
            try:
                with without_bound():
                    pieces = at_most(body.iter_chunks(1 << 20), file.size)
                    found = receive(pieces if held is None else held.passing(pieces))
            finally:
                body.close()
            self._sent[file.path] = sent.etag, sent.modified
            return found, sent.etag, held

        found, etag, held = self._tried("get", once, (file.size or 0) / _SLOWEST)
        if held is None:
            return found, None
        self._etags.held.seen(self._bucket, key, etag, agrees=held.agrees, in_parts=held.in_parts)
        return found, held.agrees

    def stated(self, file: Artifact, evidence: Evidence) -> Stated:
        """What S3 states of a file that it has listed, without sending it."""
        told = self._told.get(file.path)
        if told is None or (told.is_archived and self._to_be_read):
            # one that was archived keeps its checksums, its time and its ETag, and nobody gets its bytes
            return Stated()
        stated = self._stated(file, told, evidence)._replace(mark=self._mark(file, told))
        return stated if self._reports is None else self._with_report(file, told, evidence, stated)

    def _with_report(self, file: Artifact, told: Listed, evidence: Evidence, stated: Stated) -> Stated:
        """Return what S3 states with what a checksum report does of the file as it is now, where S3 alone does not do.

        Raises:
            UsageProblem: the report contradicts S3.
        """
        key = self._prefix + file.path
        if self._reports is None or evidence == "sha256" or key.rpartition("/")[2] == "MLmodel":
            return stated
        found = self._reports.of(self._bucket, key, told.etag, weak=evidence == "weak")
        if not found or is_whole(stated.sha256, stated.sums, evidence):
            if found:
                self._reports.check(f"s3://{self._bucket}/{key}", found, stated_in(stated.sha256, stated.sums))
            return stated
        around = f"{self._bucket}/{place_of(self._place.uri, self._place.owner) or ''}"
        return stated._replace(sums=with_report(stated.sums, found), around=around)

    def _mark(self, file: Artifact, told: Listed) -> Mark | None:
        """Return the state of a file's place; with the time, as some services give many files one ETag."""
        etag, modified = told.etag, told.modified
        if not etag or modified is None:
            return None
        place = f"{self._client.meta.endpoint_url} s3://{self._bucket}/{self._prefix}{file.path}"

        def was_read() -> bool:
            sent, when = self._sent.get(file.path, ("", None))
            # a header has whole seconds
            return sent == etag and when is not None and int(when) == int(modified)

        return Mark(place, f"{etag} {modified}", modified, was_read)

    def _stated(self, file: Artifact, told: Listed, evidence: Evidence) -> Stated:
        def head() -> Any:
            key = self._prefix + file.path
            return self._tried(
                "head", lambda: self._client.head_object(Bucket=self._bucket, Key=key, ChecksumMode="ENABLED")
            )

        if evidence == "sha256":
            found = checksums.of_head(head()).get("sha256") if "SHA256" in told.algorithms else None
            return Stated(found, text({"sha256": found}, read=False)) if found else Stated()
        place = place_of(self._place.uri, self._place.owner) or ""

        def counts() -> bool:
            if not self._etags.are_digests(self._bucket, place, head, told.etag, self._listed_plain(file, told)):
                return False
            held = Held(told.etag, file.size)

            def read() -> bool | None:
                return self._got(file, _passed_by, hold=True)[1]

            return self._etags.held.counts(
                self._bucket, told.etag, file.size or 0, in_parts=held.in_parts, read=read if held.can_tell else None
            )

        in_parts = partial(self._in_parts, file, told)
        return checksums.stated(told, file.size, head, counts, in_parts, weak=evidence == "weak")

    def _in_parts(self, file: Artifact, told: Listed, count: int) -> Attributes | None:
        """Return what S3 tells of a file's parts; ``None``: nothing that can be used."""
        if self._attributes is None or file.size is None:
            return None

        def page(after: int | None) -> Mapping[str, Any]:
            more = {} if after is None else {"PartNumberMarker": after}
            key = {"Bucket": self._bucket, "Key": self._prefix + file.path}

            def once() -> Mapping[str, Any]:
                try:
                    # nothing depends on it: it is not waited for as for files
                    with until(time.monotonic() + REST):
                        found: Mapping[str, Any] = self._client.get_object_attributes(**key, **ASKED, **more)
                except Exception as error:
                    if (unknown := unknown_call(error)) is not None:
                        raise unknown from None
                    raise
                return found

            return self._tried("attributes", once, tries=1)

        return self._attributes.of(self._bucket, page, told.etag, file.size, count)

    def _listed_plain(self, file: Artifact, told: Listed) -> bool | None:
        """Whether a file's ETag is of its bytes, as an inventory states it; ``None``: none does."""
        if self._reports is None or file.size is None:
            return None
        return self._reports.is_plain(self._bucket, self._prefix + file.path, told.etag, file.size)

    def left(self, file: Artifact, stated: Stated) -> str:
        """Return checksums that tell where a listed file is, for whoever has S3 copy it; empty: it was not listed."""
        told = self._told.get(file.path)
        if told is None or not told.etag.strip('"'):
            return ""
        return Left(told.etag.strip('"'), self._bucket, self._prefix + file.path, stated.sha256).on(stated.sums)

    def _tried(self, name: str, once: Callable[[], T], more: float = 0.0, tries: int = _TRIES) -> T:
        """Try again what breaks off: botocore has tried often to get an answer, and leaves its body to us.

        Raises:
            ReadError: S3 refuses, or does not answer within the limits.
        """
        patient, gone = self._patience.ask(name)
        if gone:
            raise TransportError(f"S3: {gone}")
        deadline = time.monotonic() + SECONDS + more
        tried = 0
        while True:
            tried += 1
            try:
                with until(deadline):
                    found = once()
            except Exception as error:
                failed = _s3_error(error)
            else:
                self._patience.answered(name)
                return found
            if isinstance(failed, (RequestRefused, TooLarge)):
                self._patience.answered(name)
                raise failed from None
            patient = patient and not STOPPING.is_set()
            if not patient or tried == tries or time.monotonic() > deadline:
                break
            time.sleep(_WAIT * tried)
        self._patience.given_up(name, str(failed), silent="timed out" in str(failed) or "time limit" in str(failed))
        raise failed


def _passed_by(pieces: Iterator[bytes]) -> None:
    for _ in pieces:
        pass


def _s3_error(error: Exception) -> ReadError:
    """Name an S3 failure in one line."""
    if isinstance(error, ReadError):
        return error
    cause: BaseException | None = error
    while cause is not None:
        # botocore puts what it does not know into an error of its own
        if isinstance(cause, TooLarge):
            return TooLarge(f"S3: {cause}")
        cause = cause.__cause__ or cause.__context__
    answer = getattr(error, "response", None) or {}
    code = str(answer.get("Error", {}).get("Code", ""))
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    right = endpoints.s3_right_to(str(getattr(error, "operation_name", ""))) if status == 403 else ""
    wanted = f" (is {right} allowed?)" if right else ""
    if code == "InvalidObjectState":
        wanted = " (it is archived: restore it first, nobody can read it until then)"
    # a message of the service may print back what it was sent
    told = Redactor.from_environment()(" ".join(str(error).split()))
    line = f"S3: {code or type(error).__name__}{wanted}: {told}"[:600]
    return RequestRefused(line, status=status, code=code) if 400 <= status < 500 else TransportError(line)
