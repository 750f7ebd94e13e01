"""Files that S3 has archived: what nobody can read on the target is never green, whatever S3 states of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.ends import Ends, equal, findings, two_ends

from mlflow_parity.standin.sagemaker import StandIn

CONTENT = b"to be kept for ten years\n" * 100


@pytest.fixture
def ends(sagemaker_app: StandIn, sagemaker_server: StandIn) -> Iterator[Ends]:
    """Both, with the same files."""
    with two_ends(sagemaker_app, sagemaker_server) as found:
        yield found


@pytest.mark.long(but=("GLACIER",))
@pytest.mark.parametrize("storage", ["GLACIER", "DEEP_ARCHIVE"])
def test_a_file_that_is_archived_on_the_target_is_unverified(ends: Ends, storage: str) -> None:
    """It has its size and its checksum, and whoever loads the model gets an error; once restored it is read."""
    ends.put("source", "old.bin", CONTENT)
    ends.put("target", "old.bin", CONTENT, StorageClass=storage)
    outcome = ends.audit()
    assert findings(outcome) == {"old.bin": "unverified"}
    [note] = [one.explanation for one in outcome.findings if one.facet == "artifacts"]
    assert "S3: InvalidObjectState (it is archived: restore it first, nobody can read it until then)" in note
    bucket, _, root = ends.roots["target"].removeprefix("s3://").partition("/")
    ends.client.restore_object(Bucket=bucket, Key=f"{root}/old.bin", RestoreRequest={"Days": 1})
    equal(ends.audit())


@pytest.mark.long
def test_what_is_archived_on_the_source_is_no_loss(ends: Ends) -> None:
    """It goes with the source; where S3 states the same of both, there is nothing to restore for an audit."""
    ends.put("source", "old.bin", CONTENT, StorageClass="GLACIER")
    ends.put("target", "old.bin", CONTENT)
    equal(ends.audit())
