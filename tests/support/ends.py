"""A managed server and an App whose files are in one S3: what their stores are asked for is recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import pytest

from mlflow_parity.core.scope import Evidence
from mlflow_parity.reading.artifacts.stated import held_etags
from mlflow_parity.reading.transport.timed import Limits
from mlflow_parity.standin.sagemaker import StandIn
from support.copied import Outcome, audited
from support.proxy import Proxy, proxying
from support.seed import EPOCH, Seeder
from support.servers import emptied

MIB = 1 << 20
FILES: Mapping[str, bytes] = {f"of {number}.bin": bytes([number]) * 1_000 for number in range(6)} | {
    "notes.txt": b"first line\n"
}
MLMODEL = "model/MLmodel"
#: What is read of each side whatever is stated: MLmodels for their content, and the first files for their ETags.
HELD = [MLMODEL, "notes.txt", "of 0.bin"]


@dataclass(slots=True)
class Ends:
    """A managed server and an App with one run each, their files in one S3; all requests for files are recorded."""

    source: str
    target: str
    env: dict[str, str]
    s3: Proxy
    client: Any
    roots: dict[str, str] = field(default_factory=dict)

    def put(self, side: str, path: str, content: bytes, *, part: int = 0, **more: Any) -> None:
        """Put a file, in parts of a size where one is given."""
        bucket, _, root = self.roots[side].removeprefix("s3://").partition("/")
        key = {"Bucket": bucket, "Key": f"{root}/{path}"}
        if not part:
            self.client.put_object(**key, Body=content, **more)
            return
        upload = {**key, "UploadId": self.client.create_multipart_upload(**key, **more)["UploadId"]}
        parts = []
        sums = {name: value for name, value in more.items() if name == "ChecksumAlgorithm"}
        for number, start in enumerate(range(0, len(content), part), 1):
            sent = self.client.upload_part(**upload, PartNumber=number, Body=content[start : start + part], **sums)
            told = {name: value for name, value in sent.items() if sums and name.startswith("Checksum")}
            parts.append({"PartNumber": number, "ETag": sent["ETag"], **told})
        self.client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})

    def both(self, path: str, content: bytes, **more: Any) -> None:
        """Put a file on both sides."""
        for side in ("source", "target"):
            self.put(side, path, content, **more)

    def audit(self, evidence: Evidence = "stores", **more: Any) -> Outcome:
        """Audit them as a migration."""
        self.s3.seen.clear()
        return audited(
            more.pop("source", self.source),
            more.pop("target", self.target),
            env=self.env,
            profile="export-import",
            evidence=evidence,
            limits=Limits(),
            **more,
        )

    def asked(self) -> Counter[str]:
        """What S3 was asked for: lists, heads, attributes and bytes."""
        kinds = {"HEAD": "heads", "GET": "bytes"}
        queries = {"list-type": "lists", "attributes": "attributes"}
        return Counter(
            next((name for query, name in queries.items() if query in one.query), kinds[one.method])
            for one in self.s3.seen
        )

    def read(self) -> list[str]:
        """Names of the files whose bytes were asked for."""
        paths = [
            one.path
            for one in self.s3.seen
            if one.method == "GET" and not ("list-type" in one.query or "attributes" in one.query)
        ]
        return sorted(unquote(path.rpartition("/artifacts/")[2]) for path in paths)


def seeded(uri: str) -> str:
    """Make an experiment with a run on a server and return where its files are."""
    seed = Seeder(uri)
    run = seed.run(seed.experiment("evidence"), "run", start=EPOCH)
    seed.log(run, params={"p": "1"}, metrics=[("m", 0.5, EPOCH, 0)])
    seed.end(run)
    return str(seed.call("GET", "runs/get", {"run_id": run})["run"]["info"]["artifact_uri"])


@contextmanager
def two_ends(sagemaker_app: StandIn, sagemaker_server: StandIn) -> Iterator[Ends]:
    """Both, with the same files as boto3 puts them, and an ``MLmodel``."""
    with (
        pytest.MonkeyPatch.context() as patch,
        emptied(sagemaker_app.server),
        emptied(sagemaker_server.server),
        proxying(sagemaker_app.s3.endpoint) as s3,
    ):
        # which files are read is counted: none by chance
        patch.setattr(held_etags, "_EACH", 1 << 40)
        # nor of those in parts the first ones: tests/reading/test_checksums.py reads them
        patch.setattr(held_etags, "_FIRST_IN_PARTS", 0)
        env = {
            **sagemaker_server.environment("SOURCE_"),
            **sagemaker_app.environment("TARGET_"),
            "SOURCE_MLFLOW_S3_ENDPOINT_URL": s3.uri,
            "TARGET_MLFLOW_S3_ENDPOINT_URL": s3.uri,
        }
        client = sagemaker_app.s3.client(sagemaker_app.credentials, sagemaker_app.location.region)
        ends = Ends(sagemaker_server.arn, sagemaker_app.arn, env, s3, client)
        ends.roots = {"source": seeded(sagemaker_server.server.uri), "target": seeded(sagemaker_app.server.uri)}
        for path, content in FILES.items():
            ends.both(path, content)
        ends.both(MLMODEL, b"flavors: {}\n")
        yield ends


def findings(outcome: Outcome) -> dict[str, str]:
    """What is told of files, by path."""
    return {finding.key: finding.state.value for finding in outcome.findings if finding.facet == "artifacts"}


def equal(outcome: Outcome) -> None:
    """Assert that the run's files were judged and are equal; its seeds have no source tags, which is another matter."""
    assert outcome.result is not None, outcome.failed
    assert [row.state.value for row in outcome.rows if row.facet == "artifacts"] == ["match"], outcome.reasons
    assert not findings(outcome)
