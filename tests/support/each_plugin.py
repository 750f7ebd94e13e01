"""Program: runs the pytest project in the working folder beside each installed plugin alone, with and without ours.

``python each_plugin.py OURS`` prints JSON: distribution → ``[exit status, outcomes]`` twice. Each run is a forked child
of a process that has imported pytest. Standard library and pytest only: it runs in other environments.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import sys
import tempfile

import pytest


def normal(name: str) -> str:
    """Return a distribution's name as the index spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def plugins() -> dict[str, list[str]]:
    """Return the modules to load for each distribution with plugins; those that it requires come first."""
    points: dict[str, list[str]] = {}
    requires: dict[str, set[str]] = {}
    for point in importlib.metadata.entry_points(group="pytest11"):
        assert point.dist is not None
        points.setdefault(normal(point.dist.name), []).append(point.value)
        wanted = [line for line in point.dist.requires or () if "extra ==" not in line]
        requires[normal(point.dist.name)] = {normal(re.split(r"[^\w.-]", line)[0]) for line in wanted}
    return {
        name: [one for needed in sorted(requires[name] & points.keys()) for one in points[needed]] + modules
        for name, modules in points.items()
    }


def run(modules: list[str]) -> tuple[int, list[str]]:
    """Run pytest with these plugins and no others; return exit status and the lines that say how each test ended."""
    with tempfile.TemporaryFile("w+") as output:
        child = os.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
            chosen = [word for module in modules for word in ("-p", module)]
            status = 3
            try:
                status = int(pytest.main(["-q", "-rA", "-p", "no:cacheprovider", *chosen]))
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        text = output.read()
    outcomes = sorted(line for line in text.splitlines() if line.startswith(("PASSED ", "FAILED ", "ERROR ")))
    return status, outcomes or text.splitlines()[-5:]


def main(ours: str) -> None:
    """Try each, and print what came of it."""
    result = {name: [run(modules), run([*modules, ours])] for name, modules in plugins().items() if ours not in modules}
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
