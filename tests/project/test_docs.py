"""The documents are true: generated ones are up to date, every option is named, every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

from mlflow_parity.kinds.rules import contract
from mlflow_parity.options import OPTIONS
from mlflow_parity.reading.transport import endpoints

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_contract_is_up_to_date() -> None:
    """``docs/contract.md`` is what ``python -m mlflow_parity.kinds.rules.contract`` prints."""
    assert (ROOT / "docs" / "contract.md").read_text(encoding="utf-8") == contract.markdown()


def test_the_aws_page_is_up_to_date() -> None:
    """``docs/aws.md`` is what ``python -m mlflow_parity.reading.transport.endpoints`` prints."""
    assert (ROOT / "docs" / "aws.md").read_text(encoding="utf-8") == endpoints.markdown()


def test_the_aws_page_holds_the_policies() -> None:
    """Those that the stand-in enforces."""
    policies = "\n".join(endpoints.policies_markdown("###"))
    assert policies.count("sagemaker-mlflow:") == len(endpoints.actions())
    assert policies.replace("###", "##") in (ROOT / "docs" / "aws.md").read_text(encoding="utf-8").replace("###", "##")


def test_the_options_page_names_every_option() -> None:
    """Nobody has to look an option up in the source."""
    text = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    assert [option.flag for option in OPTIONS if f"`{option.flag}`" not in text] == []


def test_links_lead_somewhere() -> None:
    """Every local link of README, SECURITY.md and the pages, and README links each page."""
    linked = set()
    for page in (ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
            if page.name == "README.md":
                linked.add((page.parent / link).resolve())
    assert linked > set((ROOT / "docs").glob("*.md"))


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
