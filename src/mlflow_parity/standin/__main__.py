"""``python -m mlflow_parity.standin``: run a stand-in until interrupted and print the environment to export."""

from __future__ import annotations

import argparse
import shlex
import signal
import tempfile
import threading
from pathlib import Path

from mlflow_parity.standin.sagemaker import APP_ARN, stand_in


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m mlflow_parity.standin", description=__doc__)
    parser.add_argument("--arn", default=APP_ARN, help="ARN of an App or of a managed tracking server")
    parser.add_argument("--folder", type=Path, help="Keep database and logs here (a temporary folder by default)")
    options = parser.parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with (
        tempfile.TemporaryDirectory(prefix="mlflow-parity-standin-") as temporary,
        stand_in(options.folder or Path(temporary), arn=options.arn) as running,
    ):
        print("# A SageMaker MLflow stand-in is running; its credentials are made up. In another shell:")
        for name, value in {**running.environment(), "MLFLOW_TRACKING_URI": running.arn}.items():
            print(f"export {name}={shlex.quote(value)}")
        print("# End it with Ctrl-C.", flush=True)
        ended.wait()


if __name__ == "__main__":
    main()
