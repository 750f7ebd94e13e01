"""Canonical digests: equal content has equal digests whatever the order in which it was read.

A digest is BLAKE2b-256 over a canonical encoding: every value carries its type and length, mappings are
sorted by key, doubles are their eight IEEE 754 bytes with one bit pattern for NaN. Nothing is rounded.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mlflow_parity.core.identity.sums import identity
from mlflow_parity.core.records import LINKED, ArtifactTree, DatasetInput, Experiment, Run, Series

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIZE = 32
_NAN = struct.pack("<Q", 0x7FF8000000000000)


def encode(value: object) -> bytes:
    """Encode a value of None, bool, int, float, str, bytes, sequences and mappings, unambiguously.

    Raises:
        TypeError: for any other type: a silent ``str()`` would make different things equal.
    """
    # the commonest first; isinstance of an abstract class alone is slow
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogatepass")
        return b"s%d:%b" % (len(raw), raw)
    if value is None:
        return b"n"
    if isinstance(value, bool):
        return b"t" if value else b"f"
    if isinstance(value, int):
        text = b"%d" % value
        return b"i%d:%b" % (len(text), text)
    if isinstance(value, float):
        return b"d" + (_NAN if value != value else struct.pack("<d", value))
    if isinstance(value, bytes):
        return b"b%d:%b" % (len(value), value)
    if isinstance(value, (dict, Mapping)):
        entries = sorted((encode(key), encode(item)) for key, item in value.items())
        return b"m%d:" % len(entries) + b"".join(key + item for key, item in entries)
    if isinstance(value, (list, tuple, Sequence)):
        return b"l%d:" % len(value) + b"".join(map(encode, value))
    raise TypeError(f"no canonical encoding for {type(value).__name__}")


def digest(value: object) -> bytes:
    """Return the 32-byte digest of a value that :func:`encode` takes."""
    return hashlib.blake2b(encode(value), digest_size=SIZE).digest()


def combine(parts: Iterable[bytes]) -> bytes:
    """Digest a multiset of digests (or encoded values): their order does not matter, their number does."""
    whole = hashlib.blake2b(digest_size=SIZE)
    for part in sorted(parts):
        whole.update(b"%d:" % len(part))
        whole.update(part)
    return whole.digest()


def value_bits(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bit patterns of doubles as int64, every NaN as the same one; -0.0 differs from 0.0."""
    import numpy as np

    bits = np.ascontiguousarray(values, dtype=np.float64).view(np.int64)
    nan = np.isnan(values)
    if nan.any():
        bits = bits.copy()
        bits[nan] = 0x7FF8000000000000
    return bits


def series_matrix(series: Series) -> NDArray[np.int64]:
    """Return the points as an (n, 3) int64 array of step, timestamp and value bits, sorted by row."""
    import numpy as np

    bits = value_bits(series.values)
    matrix = np.empty((len(bits), 3), dtype=np.int64)
    matrix[:, 0], matrix[:, 1], matrix[:, 2] = series.steps, series.timestamps, bits
    # steps that only go up are in order whatever else; the rest is looked at point by point
    if len(bits) > 1 and not bool((matrix[1:, 0] > matrix[:-1, 0]).all()):
        ahead, behind = matrix[1:], matrix[:-1]
        later = ahead[:, 0] > behind[:, 0]
        tied = ahead[:, 0] == behind[:, 0]
        later |= tied & (ahead[:, 1] > behind[:, 1])
        tied &= ahead[:, 1] == behind[:, 1]
        later |= tied & (ahead[:, 2] >= behind[:, 2])
        if not later.all():  # readers deliver sorted series; a merged or reversed one is put right here
            matrix = matrix[np.lexsort((matrix[:, 2], matrix[:, 1], matrix[:, 0]))]
    return matrix


def series_digest(series: Series) -> bytes:
    """Digest one metric history as a multiset of (step, timestamp, value)."""
    matrix = series_matrix(series)
    return hashlib.blake2b(matrix.astype("<i8", copy=False).tobytes(), digest_size=SIZE).digest()


def input_value(dataset: DatasetInput) -> list[object]:
    """Return a dataset input as a value for :func:`digest`, tags in any order."""
    return [
        dataset.name,
        dataset.digest,
        dataset.source_type,
        dataset.source,
        dataset.schema,
        dataset.profile,
        sorted(list(tag) for tag in dataset.tags),
    ]


def inputs_digest(inputs: Iterable[DatasetInput]) -> bytes:
    """Digest dataset inputs as a multiset."""
    return combine(encode(input_value(dataset)) for dataset in inputs)


def artifacts_digest(tree: ArtifactTree) -> bytes:
    """Digest an artifact tree: paths, sizes, what is known of the bytes, and what could not be read."""
    return combine(encode([file.path, file.size, identity(file), file.error]) for file in tree.files)


def run_digest(run: Run) -> bytes:
    """Digest everything that ``runs/search`` tells of a run, ids included (not histories and artifacts)."""
    return digest(
        [
            run.run_id,
            run.experiment_id,
            run.name,
            run.status,
            run.start_time,
            run.end_time,
            run.user_id,
            run.lifecycle_stage,
            run.artifact_uri,
            run.params,
            run.tags,
            {key: [point.step, point.timestamp, point.value] for key, point in run.metrics.items()},
            inputs_digest(run.inputs),
            _links(run.model_inputs),
            _links(run.model_outputs),
            run.other,
        ]
    )


def listed_digest(run: Run) -> bytes:
    """Digest what a list of runs tells of one: everything but its links to logged models."""
    if run.model_inputs is None and run.model_outputs is None:
        return run_digest(run)
    other = {key: value for key, value in run.other.items() if not key.startswith(LINKED)}
    return run_digest(replace(run, model_inputs=None, model_outputs=None, other=other))


def _links(models: tuple[tuple[str, int], ...] | None) -> object:
    return None if models is None else sorted(list(link) for link in models)


def experiment_digest(experiment: Experiment) -> bytes:
    """Digest everything that the server tells of an experiment itself."""
    return digest(
        [
            experiment.experiment_id,
            experiment.name,
            experiment.lifecycle_stage,
            experiment.artifact_location,
            experiment.creation_time,
            experiment.last_update_time,
            experiment.tags,
            experiment.other,
        ]
    )
