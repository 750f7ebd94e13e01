"""The ledger: what is written is read again, in bounded memory, and appears whole or not at all."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.report_samples import ids, states, texts, unhurried

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.redaction import MASK, Redactor
from mlflow_parity.core.text import encodable
from mlflow_parity.core.verdict import Row, State
from mlflow_parity.reporting.ledger import LedgerWriter, read_rows

rows = st.builds(
    Row,
    experiment=texts,
    kind=st.sampled_from(["experiment", "run"]),
    name=texts,
    source_id=ids,
    target_id=ids,
    facet=texts,
    state=states,
    paired_by=texts,
    findings=st.integers(0, 2**62),
    rules=st.lists(texts, max_size=3).map(tuple),
    note=texts,
)


def row(number: int, experiment: str = "churn", facet: str = "params") -> Row:
    """Return one ledger row."""
    name = f"run-{number}"
    return Row(experiment, "run", name, f"{number:032x}", None, facet, State.MATCH, "source-tag", 0, ("run.params",))


def encoded(found: Row) -> Row:
    """Return a row as Parquet can hold it: lone surrogates written out."""
    values = {}
    for name in Row.__slots__:
        value = getattr(found, name)
        if isinstance(value, tuple):
            value = tuple(map(encodable, value))
        elif isinstance(value, str) and not isinstance(value, State):
            value = encodable(value)
        values[name] = value
    return Row(**values)


@given(st.lists(rows, max_size=25), st.integers(1, 10))
@settings(unhurried, max_examples=60)
def test_rows_survive(made: list[Row], batch: int) -> None:
    """Any rows, in any batch size, come back in order and unchanged; filters give what a plain loop gives."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.parquet"
        with LedgerWriter(path, batch=batch) as writer:
            writer.extend(made)
        assert writer.rows == len(made)
        whole = [encoded(found) for found in made]
        assert list(read_rows(path)) == whole
        for wanted in {found.experiment for found in made} | {"not there"}:
            of_one = [found for found in whole if found.experiment == encodable(wanted)]
            assert list(read_rows(path, wanted)) == of_one
            facets = {found.facet for found in of_one[::2]}
            of_facets = [found for found in of_one if found.facet in facets]
            assert list(read_rows(path, wanted, facets)) == of_facets
        assert list(read_rows(path, facets=[])) == []


def test_the_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """Nothing stands at the path while writing; after an error the old ledger stands and no scrap is left."""
    path = tmp_path / "new" / "ledger.parquet"
    with LedgerWriter(path, batch=2) as writer:
        writer.extend(row(number) for number in range(5))
        assert not path.exists()
    assert len(list(read_rows(path))) == 5

    def interrupted() -> None:
        with LedgerWriter(path, batch=2) as writer:
            writer.extend(row(number) for number in range(50))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(list(read_rows(path))) == 5
    assert [found.name for found in path.parent.iterdir()] == ["ledger.parquet"]


def test_threads_may_write_at_once(tmp_path: Path) -> None:
    """Four threads lose no row."""
    path = tmp_path / "ledger.parquet"
    with LedgerWriter(path, batch=7) as writer:

        def work(experiment: str) -> None:
            for number in range(200):
                writer.add(row(number, experiment))

        threads = [threading.Thread(target=work, args=(f"experiment {n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for n in range(4):
        assert [found.name for found in read_rows(path, f"experiment {n}")] == [f"run-{i}" for i in range(200)]


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    """A missing file, a foreign Parquet file and a torn one are usage problems of one line."""
    foreign, torn = tmp_path / "foreign.parquet", tmp_path / "torn.parquet"
    import pyarrow as pa

    pq.write_table(pa.table({"a": [1]}), foreign)
    with LedgerWriter(tmp_path / "ledger.parquet") as writer:
        writer.add(row(1))
    torn.write_bytes((tmp_path / "ledger.parquet").read_bytes()[:-20])
    for path in (tmp_path / "nowhere.parquet", foreign, torn):
        with pytest.raises(UsageProblem) as caught:
            list(read_rows(path))
        assert "\n" not in str(caught.value)
        assert path.name in str(caught.value)


def test_an_unusable_place_is_a_usage_problem(tmp_path: Path) -> None:
    """A ledger below a file cannot be written; one line says so."""
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UsageProblem, match=r"cannot write .*ledger\.parquet"),
        LedgerWriter(tmp_path / "file" / "ledger.parquet"),
    ):
        pass


def test_secrets_are_redacted_and_rows_still_found(tmp_path: Path) -> None:
    """A secret stands in no byte and no value; the experiment is found by its true name with the same redactor."""
    secret, path = "hunter2hunter2", tmp_path / "ledger.parquet"
    redact = Redactor([secret])
    lost = Row(f"exp {secret}", "run", secret, secret, secret, "tags", State.MISSING, "", 1, (secret,), f"see {secret}")
    with LedgerWriter(path, redact=redact) as writer:
        writer.extend([lost, row(1)])
    assert secret.encode() not in path.read_bytes()
    assert secret not in repr(pq.read_table(path).to_pylist())
    found = list(read_rows(path, f"exp {secret}", redact=redact))
    assert [(one.experiment, one.state, one.note) for one in found] == [(f"exp {MASK}", State.MISSING, f"see {MASK}")]


_MEASURE = """
import sys, psutil
from pathlib import Path
from mlflow_parity.reporting.ledger import LedgerWriter, read_rows
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.verdict import Row, State

def made(count):
    for n in range(count):
        yield Row(f"experiment-{n // 20_000}", "run", f"run-{n}", f"{n:032x}", f"{n + 7:032x}", f"facet-{n % 15}",
                  State.MATCH, "source-tag", 0, ("run.params",), "")

path = Path(sys.argv[1])
process, peak = psutil.Process(), 0
# a first small ledger loads the libraries and fills their pools; what grows after that grows with the rows
with LedgerWriter(path, redact=Redactor(["hunter2hunter2"])) as writer:
    writer.extend(made(20_000))
count = sum(1 for _ in read_rows(path, "experiment-0", ["facet-3"]))
start = process.memory_info().rss
with LedgerWriter(path, redact=Redactor(["hunter2hunter2"])) as writer:
    for number, row in enumerate(made(300_000)):
        writer.add(row)
        if number % 5_000 == 0:
            peak = max(peak, process.memory_info().rss)
written = peak - start
seen = 0
for number, row in enumerate(read_rows(path)):
    seen += 1
    if number % 5_000 == 0:
        peak = max(peak, process.memory_info().rss)
one = sum(1 for _ in read_rows(path, "experiment-3", ["facet-3"]))
print(seen, one, written, peak - start)
"""


@pytest.mark.long
def test_memory_stays_bounded(tmp_path: Path) -> None:
    """300,000 rows are written and read again while memory grows by less than 100 MB."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(tmp_path / "ledger.parquet")],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    seen, one, written, peak = map(int, done.stdout.split())
    assert (seen, one) == (300_000, 1_334)
    assert written < 100_000_000
    assert peak < 100_000_000


def test_row_groups_that_cannot_match_are_not_read(tmp_path: Path) -> None:
    """Rows written experiment by experiment carry the bounds by which a reader leaves row groups out."""
    path = tmp_path / "ledger.parquet"
    with LedgerWriter(path, batch=100) as writer:
        for number in range(1_000):
            writer.add(row(number, f"experiment-{number // 100}"))
    metadata = pq.ParquetFile(path).metadata
    assert metadata.num_row_groups == 10
    bounds = [metadata.row_group(n).column(0).statistics for n in range(10)]
    assert [(found.min, found.max) for found in bounds] == [(f"experiment-{n}", f"experiment-{n}") for n in range(10)]
    assert [found.name for found in read_rows(path, "experiment-4")] == [f"run-{n}" for n in range(400, 500)]
