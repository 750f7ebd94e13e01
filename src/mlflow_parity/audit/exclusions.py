"""Options that exclude each other, and why: one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.locations import Location

_LIVE = "what workers read stays with them"
_WHOLE = "estimated is an audit of everything in scope; leave one of them out"
#: For each option what cannot be given beside it, and why. ``engine`` is given where it is another one than threads.
EXCLUDED: Mapping[str, Mapping[str, str]] = {
    "subset": {
        "self-test": "--parity-self-test plants its faults in all that was read; make it with an audit of the whole, "
        "or of one experiment",
        "recheck": "--parity-recheck judges again what was red, which is little; give it without parts",
        "snapshot-dir": "--parity-snapshot-dir keeps snapshots, and one of a part could stand for no server; "
        "`mlflow-parity snapshot` makes a whole one, which every part can be audited from",
    },
    "stop-after": {
        "self-test": "what is not compared any more cannot show that faults would be seen; leave one of them out"
    },
    "estimate": dict.fromkeys(("subset", "stop-after", "self-test"), _WHOLE),
    "engine": {
        "snapshot-dir": f"{_LIVE}, and no snapshot is kept; make one with `mlflow-parity snapshot`, or audit without "
        "workers",
        "self-test": f"{_LIVE}, and faults are planted in what this process read; make the self-test without workers, "
        "of one experiment",
        "subset": "workers share the audit among them already; leave one of them out",
        "stop-after": "workers that are at work would go on; leave one of them out",
        "estimate": "what is estimated is one process; leave one of them out",
        "source-db": "one transaction cannot be read by several machines; leave one of them out",
        "target-db": "one transaction cannot be read by several machines; leave one of them out",
        "checksums": "the reports are files of this machine; leave one of them out",
        "source-artifacts": "what proves that way is told of one process; leave one of them out",
        "target-artifacts": "what proves that way is told of one process; leave one of them out",
        "load-models": "models are loaded by this process; load them in an audit without workers",
        "usable": "searches are asked by this process; ask them in an audit without workers",
    },
}


def check(values: Mapping[str, str], is_given: Callable[[str], bool]) -> None:
    """Look whether options exclude each other; ``is_given`` says so of one by its name.

    Raises:
        UsageProblem: one line for the first two that do.
    """
    for option, others in EXCLUDED.items():
        if not is_given(option):
            continue
        name = f"--parity-{option}" + (f" {values[option]}" if option == "engine" else "")
        for other, why in others.items():
            if is_given(other):
                flag = f"--{other}" if other.endswith("-db") else f"--parity-{other}"
                raise UsageProblem(f"{name} and {flag} exclude each other: {why}")


def check_cluster(
    engine: str, scheduler: str, place: str, ends: Mapping[str, Location | None], option: str = "--parity-"
) -> None:
    """Look whether what workers need is there, and nothing of it a secret.

    ``option`` is what stands before the names of the options, ``ends`` are both sides, where they are known.

    Raises:
        UsageProblem: one line for what is missing or must not be given.
    """
    if engine != "dask":
        if scheduler or place:
            name = "dask-scheduler" if scheduler else "dask-dir"
            raise UsageProblem(f"{option}{name} is of {option}engine dask, which is missing; add it")
        return
    if scheduler and not place:
        raise UsageProblem(
            f"{option}dask-scheduler: workers on other machines need a place that all of them read and write; add "
            f"{option}dask-dir with a folder that is mounted everywhere, or an s3:// URI"
        )
    for side, location in ends.items():
        if location is not None and location.secrets:
            raise UsageProblem(
                f"{option}engine dask: the {side}'s address holds a password, which is not sent to workers; set "
                f"{side.upper()}_MLFLOW_TRACKING_USERNAME and {side.upper()}_MLFLOW_TRACKING_PASSWORD here and on the "
                "workers"
            )
