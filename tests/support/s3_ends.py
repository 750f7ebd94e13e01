"""Two managed ends with their files in one S3, and a way to it that counts what passes and refuses what it is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_parity.standin.sagemaker import StandIn
from support.audits import AuditRun, audit
from support.migrations import Migrated, migrate_py
from support.proxy import Exchange, Proxy, Seen, Spoil, proxying
from support.seed import Seeder
from support.servers import emptied


@dataclass(frozen=True, slots=True)
class S3Ends:
    """A source and an empty target; ``way`` is between the migration and their S3."""

    source: StandIn
    target: StandIn
    way: Proxy
    folder: Path

    @property
    def seed(self) -> Seeder:
        """Fills the source."""
        return Seeder(self.source.server.uri)

    def client(self, end: StandIn) -> Any:
        """A client of an end's S3, past the way."""
        return end.s3.client(end.credentials, end.location.region)

    def run(self, name: str, files: dict[str, bytes], experiment: str | None = None) -> str:
        """Make a run with files; return their root."""
        seed = self.seed
        run = seed.run(experiment or seed.experiment(name), name)
        root = str(seed.call("GET", "runs/get", {"run_id": run})["run"]["info"]["artifact_uri"])
        for path, content in files.items():
            self.put(root, path, content)
        seed.end(run)
        return root

    def put(self, root: str, path: str, content: bytes) -> None:
        """Put a file below a place of the source."""
        bucket, key = place(root, path)
        self.client(self.source).put_object(Bucket=bucket, Key=key, Body=content)

    def objects(self) -> dict[str, bytes]:
        """Return all files of the target, by what follows ``/artifacts/`` in their keys."""
        client = self.client(self.target)
        found = {}
        for bucket, key in self.places():
            body = client.get_object(Bucket=bucket, Key=key)["Body"].read()
            found[key.partition("/artifacts/")[2]] = body
        return found

    def places(self) -> list[tuple[str, str]]:
        """Return bucket and key of every file of the target."""
        bucket, _, prefix = self.target.server.artifacts_root.removeprefix("s3://").partition("/")
        pages = self.client(self.target).get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [one["Key"] for page in pages for one in page.get("Contents", [])]
        return [(bucket, key) for key in keys if "/artifacts/" in key]

    @property
    def environment(self) -> dict[str, str]:
        """Variables of a migration, whose S3 is at the end of the way."""
        both = {**self.source.environment("SOURCE_"), **self.target.environment("TARGET_")}
        return {name: self.way.uri if "S3" in name else value for name, value in both.items()}

    @property
    def arguments(self) -> list[str]:
        """What names both ends to ``migrate.py``."""
        return ["--source-arn", self.source.arn, "--target-arn", self.target.arn]

    def migrate(self, *more: str, env: Mapping[str, str] | None = None) -> Migrated:
        """Migrate without an export that is kept, and without the audit."""
        arguments = ["run", *self.arguments, "--discard-export", "--no-verify", *more]
        return migrate_py(self.folder / "work", *arguments, env={**self.environment, **(env or {})})

    def audit(self, name: str = "audit") -> AuditRun:
        """Audit both ends, past the way."""
        env = {**self.source.environment("SOURCE_"), **self.target.environment("TARGET_")}
        return audit(self.folder / name, self.source.arn, self.target.arn, env=env)

    def calls(self, method: str, words: str = "") -> list[Seen]:
        """Return the requests of a method that S3 got."""
        return [one for one in self.way.seen if one.method == method and words in f"{one.path}?{one.query}"]

    @property
    def copies(self) -> list[Seen]:
        """Return what asked S3 for a copy, of a whole object or of a part."""
        return [one for one in self.calls("PUT") if "x-amz-copy-source" in one.headers]

    def sent(self, path: str) -> list[Seen]:
        """Return what sent the bytes of a file to its place."""
        puts = [one for one in self.calls("PUT", path) if "x-amz-copy-source" not in one.headers]
        return [one for one in puts if int(one.headers.get("content-length", 0))]


@contextmanager
def s3_ends(source: StandIn, target: StandIn, folder: Path) -> Iterator[S3Ends]:
    """Empty both ends, their files too, for the length of a ``with`` block."""
    with emptied(source.server), emptied(target.server), proxying(source.s3.endpoint) as way:
        found = S3Ends(source, target, way, folder)

        def clear_both() -> None:
            for end in (source, target):
                clear(found.client(end), end.server.artifacts_root)

        # what tests of other modules left behind
        clear_both()
        try:
            yield found
        finally:
            clear_both()


def clear(client: Any, root: str) -> None:
    """Remove everything below a place in S3."""
    bucket, _, prefix = root.removeprefix("s3://").partition("/")
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for one in page.get("Contents", []):
            client.delete_object(Bucket=bucket, Key=one["Key"])
    for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
        client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])


def place(root: str, path: str) -> tuple[str, str]:
    """Return bucket and key of a file below a place."""
    bucket, _, key = root.removeprefix("s3://").partition("/")
    return bucket, f"{key}/{path}"


def refusing(status: int, code: str) -> Spoil:
    """Refuse each copy, as S3 does; all else passes."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no copies here</Message></Error>".encode()

    def spoil(exchange: Exchange, answered: int, headers: list[tuple[str, str]], content: bytes) -> None:
        if exchange.headers.get("x-amz-copy-source"):
            exchange.answer(status, [("Content-Type", "application/xml")], body)
        else:
            exchange.answer(answered, headers, content)

    return spoil
