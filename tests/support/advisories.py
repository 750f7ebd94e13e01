"""``make check``: asks pip-audit for advisories about what is installed; where nobody can be asked, says so aloud.

Exit status 0: none, or skipped; 1: there are some. Being offline is no finding, and a finding is never taken for that.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence

import requests

#: Where advisories are asked for; pip-audit has the same variable.
URL = "https://api.osv.dev/v1/query"
#: Seconds for the one question that shows whether anybody answers, and for all.
PROBE, LIMIT = 5.0, 240.0
#: Advisories that do not concern us, with the reason. None so far.
IGNORED: dict[str, str] = {}


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default=os.environ.get("PIP_AUDIT_OSV_URL", URL))
    parser.add_argument("--limit", type=float, default=LIMIT)
    args = parser.parse_args(arguments)
    why = _unreachable(args.url)
    if why:
        return _skipped(f"{args.url} does not answer: {why}")
    command = [sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--progress-spinner", "off"]
    command += ["--vulnerability-service", "osv", "--osv-url", args.url, "--format", "json"]
    for name in IGNORED:
        command += ["--ignore-vuln", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=args.limit, check=False)
    except subprocess.TimeoutExpired:
        return _skipped(f"no answer within {args.limit:.0f} s")
    found = _found(done.stdout)
    if found is None:
        lines = done.stderr.strip().splitlines()
        return _skipped(lines[-1][:300] if lines else f"it ended with status {done.returncode} and no result")
    for line in found:
        print(f"pip-audit: {line}")
    if not found:
        print("pip-audit: no known advisory about what is installed")
    return 1 if found else 0


def _unreachable(url: str) -> str:
    """Return why nobody can be asked; empty: somebody can."""
    query = {"package": {"name": "urllib3", "ecosystem": "PyPI"}, "version": "2.5.0"}
    try:
        answer = requests.post(url, json=query, timeout=PROBE)
        known = answer.json()["vulns"] if answer.status_code == 200 else None
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]
    # a version with known advisories: whoever knows none of them is no service of advisories
    return "" if known else f"status {answer.status_code}, without the advisories that it should know"


def _found(text: str) -> list[str] | None:
    """Return a line for each advisory; ``None``: pip-audit came to no result."""
    try:
        packages = json.loads(text)["dependencies"]
        return [
            f"{package['name']} {package['version']}: {one['id']} ({', '.join(one['aliases'])}), "
            f"fixed in {', '.join(one['fix_versions']) or 'no version yet'}"
            for package in packages
            for one in package.get("vulns", ())
        ]
    except (ValueError, KeyError, TypeError):
        return None


def _skipped(why: str) -> int:
    print(f"pip-audit: skipped: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
