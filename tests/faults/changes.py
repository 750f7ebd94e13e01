"""Ways to harm a target that several faults share."""

from __future__ import annotations

from collections.abc import Callable

from faults.fault import Plant, Target
from faults.seeding import partner


def param(value: str, key: str = "lr") -> str:
    """Return the statement that gives a param of the run a value (SQL)."""
    return f"UPDATE params SET value = {value} WHERE run_uuid = :run AND key = '{key}'"


def tag(value: str, key: str) -> str:
    """Return the statement that gives a tag of the run a value (SQL)."""
    return f"UPDATE tags SET value = {value} WHERE run_uuid = :run AND key = '{key}'"


def swapped(table: str, column: str, where: str) -> Plant:
    """Swap one column between the run and its partner."""

    def plant(target: Target, name: str) -> None:
        one, other = target.id("run", name), target.id("run", partner(name))
        query = f"SELECT {column} FROM {table} WHERE run_uuid = :run AND {where}"
        values = [target.value(query, run=run) for run in (one, other)]
        for run, value in ((one, values[1]), (other, values[0])):
            target.sql(f"UPDATE {table} SET {column} = :value WHERE run_uuid = :run AND {where}", run=run, value=value)

    return plant


def dataset(column: str, value: str) -> Plant:
    """Change the dataset that the run used."""

    def plant(target: Target, name: str) -> None:
        query = "SELECT source_id FROM inputs WHERE destination_id = :run AND source_type = 'DATASET'"
        found = target.value(query, run=target.id("run", name))
        target.sql(f"UPDATE datasets SET {column} = :value WHERE dataset_uuid = :dataset", value=value, dataset=found)

    return plant


def rewritten(path: str, change: Callable[[bytes], bytes], kind: str = "run") -> Plant:
    """Change the bytes of a file of a run or logged model."""

    def plant(target: Target, name: str) -> None:
        file = target.file(name, path, kind)
        old = file.read_bytes()
        new = change(old)
        assert new != old, f"{path}: nothing changed"
        file.write_bytes(new)

    return plant


def moved(path: str, to: str) -> Plant:
    """Rename a file of the run."""

    def plant(target: Target, name: str) -> None:
        old, new = target.file(name, path), target.file(name, to)
        new.parent.mkdir(exist_ok=True)
        # by way of a third name: a store may take the two for one
        old.rename(old.with_name("between")).rename(new)

    return plant


def removed(path: str, kind: str = "run") -> Plant:
    """Remove a file."""

    def plant(target: Target, name: str) -> None:
        target.file(name, path, kind).unlink()

    return plant


def added(path: str, content: bytes = b"x", kind: str = "run") -> Plant:
    """Add a file."""

    def plant(target: Target, name: str) -> None:
        file = target.file(name, path, kind)
        file.parent.mkdir(parents=True, exist_ok=True)
        assert not file.exists()
        file.write_bytes(content)

    return plant


def one_bit(content: bytes) -> bytes:
    """Return bytes of which one bit in the middle is another."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
