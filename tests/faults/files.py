"""Faults of runs: artifacts, and where they lie."""

from __future__ import annotations

from faults.changes import added, moved, one_bit, removed, rewritten, swapped
from faults.fault import Fault, Found, Target
from faults.seeding import COMPOSED, DECOMPOSED, FILES, partner


def _swapped(target: Target, name: str) -> None:
    one, other = (target.file(run, "which.txt") for run in (name, partner(name)))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def _source_run(target: Target, name: str) -> None:
    query = "SELECT value FROM tags WHERE run_uuid = :run AND key = 'mlflow_exim.run_info.run_id'"
    run = target.id("run", name)
    original = str(target.value(query, run=run))
    rewritten("model/MLmodel", lambda content: content.replace(run.encode(), original.encode()))(target, name)


def _sources_place(target: Target, name: str) -> None:
    query = "SELECT value FROM tags WHERE run_uuid = :run AND key = 'mlflow_exim.run_info.artifact_uri'"
    run = target.id("run", name)
    target.sql("UPDATE runs SET artifact_uri = :uri WHERE run_uuid = :run", uri=target.value(query, run=run), run=run)


def _artifact(path: str, state: str = "mismatch", name: str = "") -> Found:
    return Found("artifacts", path, state, name=name)


_ALL = (*FILES, "which.txt")
ARTIFACTS = (
    Fault("file-bit", "run", "one bit of a file", rewritten("deep/er/weights.bin", one_bit),
          (_artifact("deep/er/weights.bin"),)),
    Fault("file-same-size", "run", "other bytes, the same size",
          rewritten("deep/er/weights.bin", lambda content: content[::-1]), (_artifact("deep/er/weights.bin"),)),
    Fault("file-last-byte", "run", "the last byte is cut off", rewritten("notes.txt", lambda content: content[:-1]),
          (_artifact("notes.txt"),)),
    Fault("file-longer", "run", "one byte at the end", rewritten("notes.txt", lambda content: content + b"\n"),
          (_artifact("notes.txt"),)),
    Fault("file-emptied", "run", "an empty file", rewritten("notes.txt", lambda content: b""),
          (_artifact("notes.txt"),)),
    Fault("file-filled", "run", "one byte in an empty file", rewritten("empty.bin", lambda content: b"\0"),
          (_artifact("empty.bin"),)),
    Fault("file-empty-lost", "run", "an empty file is gone", removed("empty.bin"),
          (_artifact("empty.bin", "missing"),)),
    Fault("file-lost", "run", "a file is gone", removed("deep/er/weights.bin"),
          (_artifact("deep/er/weights.bin", "missing"),)),
    Fault("file-made-up", "run", "one file too many", added("deep/new.txt"), (_artifact("deep/new.txt", "extra"),)),
    Fault("file-empty-made-up", "run", "one empty file too many", added("new.txt", b""),
          (_artifact("new.txt", "extra"),)),
    Fault("file-case", "run", "the name in another case", moved("notes.txt", "Notes.txt"),
          (_artifact("notes.txt", "missing"), _artifact("Notes.txt", "extra"))),
    Fault("file-form", "run", "the name in another Unicode form", moved(f"{COMPOSED}.txt", f"{DECOMPOSED}.txt"),
          (_artifact(f"{COMPOSED}.txt", "missing"), _artifact(f"{DECOMPOSED}.txt", "extra"))),
    Fault("file-moved", "run", "the file in another folder", moved("notes.txt", "deep/notes.txt"),
          (_artifact("notes.txt", "missing"), _artifact("deep/notes.txt", "extra"))),
    Fault("file-line-ends", "run", "line ends of Windows became those of Unix",
          rewritten("notes.txt", lambda content: content.replace(b"\r\n", b"\n")), (_artifact("notes.txt"),)),
    Fault("file-encoding", "run", "UTF-8 became Latin-1",
          rewritten("latin.txt", lambda content: content.decode().encode("latin-1")), (_artifact("latin.txt"),)),
    Fault("files-swapped", "run", "a file of two runs swapped", _swapped,
          (_artifact("which.txt"), _artifact("which.txt", name=partner("files-swapped")))),
    Fault("mlmodel-run", "run", "MLmodel still names the source's run", _source_run,
          (_artifact("model/MLmodel: run_id"),)),
    Fault("mlmodel-loader", "run", "MLmodel names another loader",
          rewritten("model/MLmodel", lambda content: content.replace(b"absent", b"other")),
          (_artifact("model/MLmodel: flavors"),)),
    Fault("place-of-source", "run", "the run keeps its files where the source's run does", _sources_place,
          (Found("artifact_uri", "artifact_uri"),), also=tuple(_artifact(path, "missing") for path in _ALL)),
    Fault("places-swapped", "run", "the places of two runs swapped", swapped("runs", "artifact_uri", "1"),
          (*(_artifact(path, name=name) for path in ("which.txt", "model/MLmodel: run_id")
             for name in ("", partner("places-swapped"))),
           *(Found("artifact_uri", "artifact_uri", name=name) for name in ("", partner("places-swapped"))))),
)  # fmt: skip
