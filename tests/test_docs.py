"""The documents are true: generated ones are up to date, and the README names what there is."""

from __future__ import annotations

import re
from pathlib import Path

from mlflow_parity.kinds import contract
from mlflow_parity.options import OPTIONS
from mlflow_parity.reading.transport import endpoints

ROOT = Path(__file__).resolve().parent.parent


def test_the_contract_is_up_to_date() -> None:
    """``docs/contract.md`` is what ``python -m mlflow_parity.kinds.contract`` prints."""
    assert (ROOT / "docs" / "contract.md").read_text(encoding="utf-8") == contract.markdown()


def test_the_aws_page_is_up_to_date() -> None:
    """``docs/aws.md`` is what ``python -m mlflow_parity.reading.transport.endpoints`` prints."""
    assert (ROOT / "docs" / "aws.md").read_text(encoding="utf-8") == endpoints.markdown()


def test_the_readme_holds_the_policies() -> None:
    """Those that the stand-in enforces, as ``docs/aws.md`` has them."""
    policies = "\n".join(endpoints.policies_markdown("###"))
    assert policies.count("sagemaker-mlflow:") == len(endpoints.actions())
    assert policies in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_names_every_option() -> None:
    """Each option stands in the README, and every local link leads somewhere."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [option.flag for option in OPTIONS if f"`{option.flag}`" not in text] == []
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert len(links) > 3
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_pages_show_commands_of_the_installed_package() -> None:
    """Every command that README and ``docs/`` show is one that ``pip install`` or MLflow brings."""
    shown: dict[str, str] = {}
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        lines = [line for language, block in blocks if language in ("", "sh") for line in block.splitlines()]
        # what a terminal prints is indented
        shown |= {line.split()[0]: page.name for line in lines if line and not line.startswith(" ")}
        said = re.findall(r"(?:python )?migrate\.py[^`]*", text)
        assert said == (["python migrate.py"] if page.name in ("README.md", "migrate.md") else []), page.name
    assert set(shown) == {"pip", "pytest", "mlflow", "mlflow-parity"}, shown
