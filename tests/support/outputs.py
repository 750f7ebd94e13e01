"""``docs/outputs.md`` and what it shows, made by the commands themselves: ``make outputs``, or this as a module.

The demo's source is planned, migrated to an App with the plain Export Import tool and audited, which is red, then
migrated with ours, whose audit is green. What differs each time is replaced (:func:`stable`), so that only a command
that says something else changes a file.
"""

from __future__ import annotations

import hashlib
import io
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from mlflow_parity.standin.sagemaker import StandIn, stand_in
from mlflow_parity.standin.servers import Server, clean_environment
from support import tool, warm
from support.browser import pictured
from support.migrations import COMMAND, ROOT
from support.servers import ServerPool, empty, keep_pristine

FOLDER = ROOT / "docs" / "outputs"
PAGE = ROOT / "docs" / "outputs.md"
#: Width of the terminal.
COLUMNS = 100
#: Sizes of the pictures, by the name that their files end with.
SIZES: Mapping[str, tuple[int, int]] = {"1400": (1400, 1000), "390": (390, 1400)}
#: The section of an audit's output that comes last; what is before it is in the file alone.
_SUMMARY = re.compile(r"=+ mlflow-parity =+$")
#: Lines of a plan that the page shows, and of an audit without that section.
_MOST = 40
_COLOURS = 48
# as long as what they stand for, so that lines break where they did
_SOURCE, _LOOPBACK = "http://old-mlflow:5000", "http://127.0.0.1:50000"
#: Ids and digests, also those that were cut; the first letters tell which one it is.
_ID, _TOLD = re.compile(r"(?<![\w.])(?:tr-|m-)?(?P<hex>(?=[0-9a-f]*[a-f])[0-9a-f]{12,64})\b"), 12
_MACHINE = re.compile(r"^(?:platform|rootdir|configfile|plugins|cachedir)\b.*\n", re.MULTILINE)
_RULE = re.compile(r"^=+ (?P<title>.+?) =+$", re.MULTILINE)
_REPLACED: Mapping[str, str] = {
    r"\b20\d\d-\d\d-\d\d([T ])\d\d:\d\d:\d\d(?:\.\d+)?": r"2026-03-02\g<1>09:00:00",
    r"\b1[78]\d{11}\b": "1772442000000",
    r" \(\d:\d\d:\d\d\)": "",
    r"(?<![\d.,])(?:\d+\.\d h|\d+ min|\d+(?:\.\d+)? ?s)\b": "2 s",
}
#: What depends on the versions of Python and of packages that a model names: not compared.
_SIZES = re.compile(r"\b\d[\d,]*(?:\.\d+)? (?:B|[kMGT]B)\b|\b\d+ requests as probes|\b\d+ to the (?:source|target)")


@dataclass(frozen=True, slots=True)
class Outputs:
    """What was printed, and the report pages, by name."""

    texts: Mapping[str, str]
    reports: Mapping[str, str]


def make(source: Server, app: StandIn) -> Outputs:
    """Run all of it with an empty source and an empty App.

    Raises:
        RuntimeError: a command did not end as it has to.
    """
    # a folder with a short name, as lines are cut that are too long
    with tempfile.TemporaryDirectory() as name:
        return _made(source, app, Path(name))


def _made(source: Server, app: StandIn, folder: Path) -> Outputs:
    ends = ["--source-uri", source.uri, "--target-arn", app.arn]
    env = {**clean_environment(app.environment("TARGET_")), "NO_COLOR": "1", "COLUMNS": str(COLUMNS)}
    for name in ("CI", "BUILD_NUMBER", "GITHUB_STEP_SUMMARY"):
        env.pop(name, None)
    texts: dict[str, str] = {}

    def shown(name: str, command: str, expected: int, *more: str) -> None:
        arguments = [*command.split(), *ends, *more]
        python = warm.stand_in_python("audit")
        done = warm.run([str(COMMAND), *arguments], kind="mlflow", cwd=folder, env=env, child_python=python)
        output = done.stdout + done.stderr
        if done.returncode != expected:
            raise RuntimeError(f"mlflow-parity {command} ended with {done.returncode}:\n{output[-3000:]}")
        line = " ".join(["mlflow-parity", *arguments])
        texts[name] = stable(f"$ {line}\n{output}", source.uri, folder)

    fill = ["-m", "mlflow_parity.migrating.demo_data", source.uri]
    filled = warm.run(fill, kind="mlflow", cwd=folder, env=clean_environment())
    if filled.returncode:
        raise RuntimeError(f"the source could not be filled:\n{filled.stderr[-3000:]}")
    shown("plan", "migrate plan", 0)
    tool.export(source.uri, folder / "export")
    if '"exceptions": 0' not in tool.import_(app.arn, folder / "export", env=app.environment()):
        raise RuntimeError("the plain tool did not say that all went well")
    shown("red", "audit", 1, "--parity-report-dir", "red")
    empty(app.server)
    shown("run", "migrate run", 0, "--report-dir", "reports")
    shown("green", "audit", 0, "--parity-report-dir", "green")
    pages = {name: (folder / name / "report.html").read_text(encoding="utf-8") for name in ("red", "green")}
    return Outputs(texts, {name: _addressed(page, source.uri) for name, page in pages.items()})


def stable(text: str, source: str, folder: Path) -> str:
    """Return an output without what is another one each time: addresses, ids, times, and what the machine is."""
    text = _MACHINE.sub("", _addressed(text, source).replace(f"{folder.resolve()}/", ""))
    for pattern, replacement in _REPLACED.items():
        text = re.sub(pattern, replacement, text)
    known: dict[str, str] = {}

    def named(found: re.Match[str]) -> str:
        name = found["hex"]
        digest = hashlib.sha256(f"id {len(known)}".encode()).hexdigest()
        return found.group().replace(name, known.setdefault(name[:_TOLD], digest)[: len(name)])

    text = _RULE.sub(lambda rule: f" {rule['title']} ".center(COLUMNS, "="), _ID.sub(named, text))
    return "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n"


def same(kept: str, made: str) -> bool:
    """Tell whether two outputs say the same, wherever lines break and in whatever order (a plan sorts by size)."""
    return sorted(_SIZES.sub("", kept).split()) == sorted(_SIZES.sub("", made).split())


def _addressed(text: str, source: str) -> str:
    return re.sub(r"http://127\.0\.0\.1:\d{5}\b", _LOOPBACK, text.replace(source, _SOURCE))


def picture(page: str, width: int, height: int) -> bytes:
    """Return the top of a report as a small PNG."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "report.html"
        path.write_text(page, encoding="utf-8")
        content = io.BytesIO(pictured(path, Path(name), width, height))
        small = io.BytesIO()
        Image.open(content).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(
            small, "PNG", optimize=True
        )
    return small.getvalue()


def page(texts: Mapping[str, str]) -> str:
    """Return ``docs/outputs.md``."""
    return _PAGE.format(**{name: f"```text\n{_part(text)}```" for name, text in texts.items()})


def _part(text: str) -> str:
    """Return what the page shows of an output: the command, and what a person looks at."""
    command, *lines = text.splitlines(keepends=True)
    if command.startswith("$ mlflow-parity audit"):
        begins = [number for number, line in enumerate(lines) if _SUMMARY.match(line)]
        return "".join([command, "…\n", *lines[begins[-1] if begins else -_MOST :]])
    if command.startswith("$ mlflow-parity migrate plan") and len(lines) > _MOST:
        lines[_MOST:] = ["…\n"]
    return "".join([command, *lines])


_PAGE = """# Real outputs

<!-- Generated by `make outputs`; edit tests/support/outputs.py instead. -->

The demo's source (a small team's experiments with 16 runs, models, a prompt and traces) is moved to a loopback stand-in
of a SageMaker MLflow App twice: by the plain Export Import tool, as the public guide does it, and by
`mlflow-parity migrate run`. What follows is what the commands printed. Addresses, ids and times are replaced, so that
it stays the same; a test makes all of it again and compares.

## Before: the plan

Nothing is written yet ([how to](migrate.md)). [All of it](outputs/plan.txt):

{plan}

## After the plain tool: red

`export-all` and `import-all` ended with exit status 0, and said `"exceptions": 0`. The audit ends with exit status 1.
Its last lines say what is wrong and where the report is; [all of it](outputs/red.txt):

{red}

The head of `report.html`, on a desk and on a telephone:

![The report: red, with the causes](outputs/red-1400.png)

![The same, 390 pixels wide](outputs/red-390.png)

## With mlflow-parity: migrated, and green

The migration ends in an audit of its own. Exit status 0 ([as a file](outputs/run.txt)):

{run}

The audit alone, at any later time; [all of it](outputs/green.txt):

{green}

![The report: green](outputs/green-1400.png)

![The same, 390 pixels wide](outputs/green-390.png)
"""


def _write(outputs: Outputs) -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in outputs.texts.items():
        (FOLDER / f"{name}.txt").write_text(text, encoding="utf-8")
    for name, report in outputs.reports.items():
        for ending, size in SIZES.items():
            (FOLDER / f"{name}-{ending}.png").write_bytes(picture(report, *size))
    PAGE.write_text(page(outputs.texts), encoding="utf-8")


def _main() -> None:
    from mlflow_parity.standin import servers
    from support.sharing import lead

    servers.launch = warm.launch
    lead()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pool = ServerPool(folder / "servers")
        try:
            with stand_in(folder / "app") as app:
                keep_pristine(app.server)
                _write(make(pool.take(), app))
        finally:
            pool.close()


if __name__ == "__main__":
    _main()
