"""Our own code, altered one place at a time: ``make mutants`` says which alterations no test notices.

mutmut makes the mutants; they are run here, because it starts pytest for each of them, which takes seconds: here the
tests are collected once, and each mutant is a forked process that runs the tests which reach its function, the fastest
first. Mutants of what runs while modules are imported get a process of their own.

``tests/mutants.txt`` lists the mutants that mean the same as the code, each with its reason.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib
import importlib.metadata
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "src"
#: The altered copy of the package, and what was found out.
ALTERED = ROOT / "mutants"
FOUND = ALTERED / "found.json"
LIST = ROOT / "tests" / "mutants.txt"
PACKAGE = "mlflow_parity"
#: What is altered: what decides which object is which, what is equal, and under which condition a difference passes.
WHAT = (
    "pairing/*.py", "comparing/*.py", "kinds/rules/contract.py", "kinds/conventions/copy_places.py",
    "kinds/conventions/logged_images.py", "kinds/conventions/attachments.py", "kinds/__init__.py",
)  # fmt: skip
#: The tests that may notice; those of them that need a server, and the long ones, are left out.
TESTS = ("tests/pairing", "tests/comparing", "tests/kinds")
#: Of all mutants, so many must be noticed.
LEAST = 0.9


@dataclass(frozen=True, slots=True)
class Mutant:
    """One alteration; ``less`` and ``more`` are the lines of the function that it takes away and puts there.

    ``code`` tells its module's code from others, so that what was found out of it can be kept.
    """

    name: str
    function: str
    less: str
    more: str
    code: str = ""

    @property
    def room(self) -> str:
        """Where the function is."""
        return self.function.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Equal:
    """A mutant that means the same as the code, by its function and alteration, and why it does."""

    function: str
    less: str
    more: str
    reason: str


def altered(paths: Iterable[Path]) -> list[Mutant]:
    """Write the altered copy of the package; return the mutants of the modules."""
    folder = ALTERED / "src"
    shutil.copytree(SOURCE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return [mutant for path in paths for mutant in _module(path, folder / path.relative_to(SOURCE))]


def _module(path: Path, copy: Path) -> list[Mutant]:
    """Write all mutants of one module into its copy, unless they are known from an earlier run."""
    code = path.read_text(encoding="utf-8")
    print(path.relative_to(ROOT), flush=True)
    key = hashlib.sha256(f"{importlib.metadata.version('mutmut')} {code}".encode()).hexdigest()
    known = ALTERED / "known" / f"{key}.json"
    if not known.exists():
        mutmut = importlib.import_module("mutmut.mutation.file_mutation")
        made = mutmut.mutate_file_contents(str(path), code)
        module = str(path.relative_to(SOURCE).with_suffix("")).replace("/", ".").removesuffix(".__init__")
        mutants = [asdict(one) for one in _described(module, made.code, made.mutant_names)]
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text(json.dumps({"code": made.code, "mutants": mutants}), encoding="utf-8")
    found = json.loads(known.read_text(encoding="utf-8"))
    copy.write_text(found["code"], encoding="utf-8")
    return [Mutant(**{**one, "code": key[:16]}) for one in found["mutants"]]


def _described(module: str, code: str, names: Iterable[str]) -> list[Mutant]:
    lines = code.splitlines()
    bodies: dict[str, list[str]] = {}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef):
            first = lines[node.lineno - 1].replace(node.name, "f", 1)
            bodies[node.name] = [first.strip(), *(one.strip() for one in lines[node.lineno : node.end_lineno])]
    found = []
    for name in names:
        mangled, _, _ = name.partition("__mutmut_")
        function = mangled[2:].replace("ǁ", ".")
        where = f"{module.removeprefix(PACKAGE).lstrip('.')}.{function}"
        less, more = differing(bodies[f"{mangled}__mutmut_orig"], bodies[name])
        found.append(Mutant(f"{module}.{name}", where, less, more))
    return found


def differing(ours: Sequence[str], theirs: Sequence[str]) -> tuple[str, str]:
    """Return the lines of two texts from the first one that differs to the last one, each as one line."""
    start = next((at for at, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other), 0)
    end = 0
    while end < min(len(ours), len(theirs)) - start and ours[-1 - end] == theirs[-1 - end]:
        end += 1
    return tuple(" ".join(" ".join(side[start : len(side) - end]).split()) for side in (ours, theirs))  # type: ignore[return-value]  # two of them


def read(text: str) -> list[Equal]:
    """Read the list: a function in brackets, below it ``-`` and ``+`` lines, and what is neither is their reason.

    Raises:
        ValueError: when a mutant has no reason, or what is there is no list.
    """
    found: list[Equal] = []
    function, waiting, reason = "", list[tuple[str, str]](), list[str]()
    for line in [*text.splitlines(), "["]:
        if line.startswith(("[", "- ")) and reason:
            found += [Equal(function, less, more, " ".join(reason)) for less, more in waiting]
            waiting, reason = [], []
        if line.startswith("["):
            if waiting:
                raise ValueError(f"{function}: no reason is given for {waiting[-1][0]}")
            function = line.strip("[]")
        elif line.startswith("- "):
            waiting.append((line[2:], ""))
        elif line.startswith("+"):
            waiting[-1] = (waiting[-1][0], line[2:])
        elif line.strip() and not line.startswith("#"):
            if not waiting:
                raise ValueError(f"{function or 'the first line'}: a reason stands below what it is for: {line}")
            reason.append(line.strip())
    return found


def told(mutants: Collection[Mutant], noticed: Mapping[str, str], equal: Iterable[Equal]) -> tuple[list[str], bool]:
    """Return what is to be said of a run, and whether all is well.

    ``noticed`` says of each mutant that a test noticed how it did.
    """
    listed = {(one.function, one.less, one.more) for one in equal}
    names = {(one.function, one.less, one.more) for one in mutants}
    survivors = [one for one in mutants if one.name not in noticed]
    unlisted = [one for one in survivors if (one.function, one.less, one.more) not in listed]
    lines = []
    for one in sorted(unlisted, key=lambda one: one.function):
        lines += [f"[{one.function}]", f"- {one.less}", f"+ {one.more}", ""]
    modules = {one.function.rpartition(".")[0] for one in mutants}
    seen = {one for one in listed if any(one[0].startswith(f"{module}.") for module in modules)}
    for function, less, _ in sorted(seen - names):
        lines.append(f"listed, but there is no such mutant any more: {function}: {less}")
    needless = seen - {(one.function, one.less, one.more) for one in survivors} - (seen - names)
    lines += [f"listed, but a test notices it: {function}: {less}" for function, less, _ in sorted(needless)]
    rooms = Counter(one.room for one in mutants)
    killed = Counter(one.room for one in mutants if one.name in noticed)
    for room in [*sorted(rooms), ""]:
        all_of, of = (sum(rooms.values()), sum(killed.values())) if not room else (rooms[room], killed[room])
        lines.append(f"{room or 'all'}: {of:,} of {all_of:,} noticed ({of / max(all_of, 1):.1%})")
    lines.append(f"survivors: {len(survivors)}, not listed: {len(unlisted)}; listed in vain: {len(seen - names)}")
    well = not unlisted and not seen - names and sum(killed.values()) >= LEAST * sum(rooms.values())
    return lines, well


def kept(mutants: Iterable[Mutant], found: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return which test noticed each mutant in earlier runs, of those whose code is still the same."""
    return {one.name: found[one.name][1] for one in mutants if one.name in found and found[one.name][0] == one.code}


def _read_found() -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads(FOUND.read_text(encoding="utf-8")) if FOUND.exists() else {}
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the mutants of all modules, or of those whose path holds one of the words."""
    parser = argparse.ArgumentParser(
        prog="make mutants", description="Which alterations of our own code no test notices"
    )
    parser.add_argument("only", nargs="*", help="part of a module's path or a function's name: comparing/trees, _facts")
    parser.add_argument("--children", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("--again", action="store_true", help="run only what no test noticed in earlier runs")
    parser.add_argument("--tests", action="append", help="the tests to run, instead of all that may notice")
    given = parser.parse_args(arguments)
    paths = sorted(path for pattern in WHAT for path in (SOURCE / PACKAGE).glob(pattern))
    words = [word.replace("/", ".") for word in given.only] or [""]
    mutants = [one for one in altered(paths) if any(word in one.function for word in words)]
    equal = [one for one in read(LIST.read_text(encoding="utf-8")) if any(word in one.function for word in words)]
    # from here on, the package is the altered one, in all that is started, too
    sys.path.insert(0, str(ALTERED / "src"))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ALTERED / "src"), str(ROOT / "tests")])
    before = {name: test for name, test in kept(mutants, _read_found()).items() if test} if given.again else {}
    to_run = [one for one in mutants if one.name not in before]

    def keep(noticed: Mapping[str, str]) -> None:
        # a run of all takes long: what is known of the others is not lost
        found = {**_read_found(), **{one.name: [one.code, noticed[one.name]] for one in to_run if one.name in noticed}}
        FOUND.write_text(json.dumps(found, indent=1), encoding="utf-8")

    run = importlib.import_module("support.mutant_runs").run
    noticed = {**before, **run(to_run, given.tests or TESTS, given.children, keep)}
    lines, well = told(mutants, noticed, equal)
    print("\n".join(lines))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
