"""What workers ask of the process that gave them work, while they are at it: by queues of the scheduler.

Both ends reach the scheduler, and need not reach each other. Questions and answers are JSON; an answer that does not
come means that nobody waits for the work any more.
"""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from mlflow_parity.cluster.shared_place import new_name
from mlflow_parity.core.errors import ReadError

#: Seconds until a question that nobody answers is given up.
_PATIENCE = 30.0
_LOOK = 1.0


def _queue(name: str, client: Any) -> Any:
    # it has no types
    return importlib.import_module("distributed").Queue(name, client=client)


def _questions(job: str) -> str:
    return f"mlflow-parity {job} questions"


class Answering:
    """Answers the questions of a job's workers, one after the other, in a thread of its own."""

    def __init__(self, client: Any, job: str, answer: Callable[[Any], Any]) -> None:
        self._client = client
        self._answer = answer
        self._ended = threading.Event()
        self._questions = _queue(_questions(job), client)
        self._answers: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._work, name="parity-answering", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._ended.set()
        self._thread.join(_PATIENCE)
        for queue in (self._questions, *self._answers.values()):
            with suppress(Exception):
                queue.close()

    def _work(self) -> None:
        while not self._ended.is_set():
            # a scheduler that is gone ends the work elsewhere
            try:
                batch = self._questions.get(timeout=_LOOK, batch=False)
            except Exception:
                self._ended.wait(0.01)
                continue
            with suppress(ValueError, TypeError, KeyError):
                asked = json.loads(batch)
                told = json.dumps([self._answer(one) for one in asked["questions"]])
                name = str(asked["to"])
                if name not in self._answers:
                    self._answers[name] = _queue(name, self._client)
                with suppress(Exception):
                    self._answers[name].put(told)


class Asking:
    """Asks the process that gave this one its work; safe to use from many threads, whose questions go together."""

    def __init__(self, job: str, client: Any) -> None:
        self._to = f"mlflow-parity {job} answers {new_name()}"
        self._questions = _queue(_questions(job), client)
        self._answers = _queue(self._to, client)
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._waiting: list[tuple[Any, Future[Any]]] = []
        self._lost = False

    def __call__(self, question: Any) -> Any:
        """Return the answer to a question.

        Raises:
            ReadError: nobody answers.
        """
        mine: Future[Any] = Future()
        with self._lock:
            self._waiting.append((question, mine))
        with self._turn:
            if not mine.done():
                with self._lock:
                    batch, self._waiting = self._waiting, []
                self._send(batch)
        return mine.result()

    def _send(self, batch: list[tuple[Any, Future[Any]]]) -> None:
        try:
            if self._lost:
                raise TimeoutError
            self._questions.put(json.dumps({"to": self._to, "questions": [question for question, _ in batch]}))
            answers = json.loads(self._answers.get(timeout=_PATIENCE))
            if len(answers) != len(batch):
                raise ValueError("another number of answers than of questions")
        except Exception as error:
            # an answer that comes later would be taken for that of the next question
            self._lost = True
            why = f"the process that gave this worker its work does not answer ({type(error).__name__})"
            for _, mine in batch:
                mine.set_exception(ReadError(why))
            return
        for (_, mine), answer in zip(batch, answers, strict=True):
            mine.set_result(answer)
