"""In a real kernel of Jupyter: a notebook audits a pair, shows the report, and reads the ledger as pandas."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from support.altering import altered
from support.pages import ROOT

from mlflow_parity.standin.servers import Server, clean_environment

pytestmark = pytest.mark.long

#: The fourth runs while a param of the target is another one.
_CELLS = (
    "import mlflow_parity",
    "report = mlflow_parity.audit(source={source!r}, target={target!r}, report_dir='green')\nreport",
    "report.to_pandas('ledger').groupby('state').size()",
    "red = mlflow_parity.audit(source={source!r}, target={target!r}, report_dir='red')\nred",
    "print(red.verdict, red.green)\nred.to_pandas('findings')[['experiment', 'name', 'facet', 'state']]",
    "mlflow_parity.snapshot(source={source!r}, folder='kept')",
    "mlflow_parity.audit(source='kept/source', target={target!r}, depht='full')",
)


@pytest.fixture(params=["bar", "no tqdm"])
def cells(request: pytest.FixtureRequest, servers: tuple[Server, Server], tmp_path: Path) -> list[Any]:
    """The outputs of each cell, after the notebook ran in a folder of its own."""
    source, target = servers
    first = "" if request.param == "bar" else "import sys; sys.modules['tqdm'] = sys.modules['tqdm.auto'] = None\n"
    texts = [one.format(source=source.uri, target=target.uri) for one in _CELLS]
    notebook = _notebook([first + texts[0], *texts[1:]])
    with ExitStack() as changed:
        for number in _run(notebook, tmp_path, clean_environment()):
            changed.close()
            if number == 3:
                change = "UPDATE params SET value = 'other' WHERE rowid = (SELECT min(rowid) FROM params)"
                changed.enter_context(altered(target.database_path, [change]))
    return [cell.outputs for cell in notebook.cells]


def _run(notebook: Any, folder: Path, environment: dict[str, str]) -> Iterator[int]:
    """Execute the cells one by one; yield the number of each before it runs."""
    client = NotebookClient(notebook, timeout=240, allow_errors=True, resources={"metadata": {"path": str(folder)}})
    with client.setup_kernel(env=environment):
        for number, cell in enumerate(notebook.cells):
            yield number
            client.execute_cell(cell, number)


def _notebook(texts: Iterable[str]) -> Any:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in texts])


def test_the_page_is_a_notebook(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """Every block of docs/python.md, in order, in one kernel."""
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    notebook = _notebook(re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))
    source, target = servers
    for _ in _run(notebook, tmp_path, clean_environment({"OLD": source.uri, "NEW": target.uri})):
        pass
    outputs = [one for cell in notebook.cells for one in cell.outputs]
    assert [one for one in outputs if one.output_type == "error"] == []
    assert ">GREEN</b>" in _shown(notebook.cells[0].outputs)["text/html"]
    assert notebook.cells[1].outputs[0].text == "everything in scope was compared, and is as the contract says\n"
    assert ">GREEN</b>" in _shown(notebook.cells[3].outputs)["text/html"]
    # the target is no empty one
    assert _shown(notebook.cells[4].outputs)["text/plain"].startswith("(True,")


def _shown(outputs: list[Any]) -> dict[str, str]:
    [result] = [one for one in outputs if one.output_type == "execute_result"]
    return dict(result.data)


def test_a_notebook(cells: list[Any], request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Each report is shown as a block, no line of pytest anywhere; the bar is gone, and an error is one line."""
    assert [one.output_type for outputs in cells[:6] for one in outputs if one.output_type == "error"] == []
    for number, verdict in ((1, "GREEN"), (3, "RED")):
        data = _shown(cells[number])
        assert f">{verdict}</b>" in data["text/html"]
        assert data["text/plain"].splitlines()[0].startswith(f"mlflow-parity: {verdict} · compared ")
        bars = [one for one in cells[number] if one.output_type == "display_data"]
        assert bool(bars) is ("no tqdm" not in request.node.name)
        streams = [one for one in cells[number] if one.output_type == "stream"]
        assert "pytest" not in json.dumps(streams)
        assert [one for one in streams if one.name == "stdout"] == []
        if "no tqdm" in request.node.name:
            assert streams == []
    assert "param" in _shown(cells[3])["text/html"]
    assert "match" in _shown(cells[2])["text/plain"]
    assert cells[4][0].text == "red False\n"
    frame = _shown(cells[4])
    assert "<table" in frame["text/html"]
    assert "mismatch" in frame["text/plain"]
    assert "snapshot of " in _shown(cells[5])["text/html"]
    [error] = [one for one in cells[6] if one.output_type == "error"]
    assert (error.ename, error.evalue) == ("UsageProblem", "'depht' is no option; did you mean depth?")
    assert (tmp_path / "green" / "report.html").exists()
    assert (tmp_path / "red" / "ledger.parquet").exists()
