"""Ids by the million: what maps each to another text in 34 bytes, and what counts them; a ``dict`` takes 200 and more.

An audit knows of each run of the source what became of it, as long as it goes on. Most ids are 32 hexadecimal digits:
they, and other short texts, are kept as 17 bytes in sorted arrays. Whatever does not fit is kept as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping

import numpy as np
from numpy.typing import NDArray

from mlflow_parity.core.identity.digests import digest

#: Bytes of a packed text: which form it has, and what it says. NumPy's texts of fixed width end at their last byte that
#: is not 0, so that they are filled up again when they are read.
_WIDTH = 17
_TYPE = f"S{_WIDTH}"
_HEX, _SHORT = b"\x01", b"\x02"
#: Entries that wait to be sorted in: so many, or a sixteenth of those that are.
_FEW, _PART = 1 << 12, 16

_Packed = NDArray[np.bytes_]


def packed(text: str) -> bytes | None:
    """Return a text in at most 17 bytes, from which it can be told again; ``None``: it is too long."""
    if len(text) == 32:
        try:
            found = bytes.fromhex(text)
        except ValueError:
            return None
        # what stands there in capitals, or with spaces between, is another text
        return _HEX + found if found.hex() == text else None
    try:
        found = text.encode()
    except UnicodeEncodeError:
        return None
    return _SHORT + found if len(found) < _WIDTH and b"\0" not in found else None


def unpacked(found: bytes) -> str:
    """Return the text that was packed."""
    return found[1:].ljust(_WIDTH - 1, b"\0").hex() if found.startswith(_HEX) else found[1:].decode()


class IdMap(MutableMapping[str, str]):
    """Maps ids to ids, or to other short texts.

    Entries are sorted in many at a time, so that adding one costs little; they come out in no order.
    """

    def __init__(self, entries: Iterable[tuple[str, str]] = ()) -> None:
        self._keys: _Packed = np.empty(0, _TYPE)
        self._values: _Packed = np.empty(0, _TYPE)
        self._rest: dict[str, str] = {}
        """What cannot be packed; it stands for a packed entry of the same key."""
        self._new: dict[str, str] = {}
        """What came last; it stands for all others."""
        self.update(entries)

    def __setitem__(self, key: str, value: str) -> None:
        self._new[key] = value
        if len(self._new) >= max(_FEW, len(self._keys) // _PART):
            self._settle()

    def __getitem__(self, key: str) -> str:
        found = self._new.get(key)
        if found is None:
            found = self._rest.get(key)
        if found is None:
            at = self._at(key)
            if at is None:
                raise KeyError(key)
            found = unpacked(bytes(self._values[at]))
        return found

    def __delitem__(self, key: str) -> None:
        self._settle()
        at = self._at(key)
        if self._rest.pop(key, None) is None and at is None:
            raise KeyError(key)
        if at is not None:
            self._keys, self._values = np.delete(self._keys, at), np.delete(self._values, at)

    def __iter__(self) -> Iterator[str]:
        self._settle()
        yield from self._rest
        for key in self._keys:
            text = unpacked(bytes(key))
            if text not in self._rest:
                yield text

    def __len__(self) -> int:
        self._settle()
        return len(self._keys) + sum(self._at(key) is None for key in self._rest)

    def _at(self, key: object) -> int | None:
        # what is asked for may come from anywhere, as a dict is asked whether it has a ``None``
        wanted = packed(key) if isinstance(key, str) else None
        if wanted is None or not len(self._keys):
            return None
        # of the same type: else all keys would be copied for it
        at = int(np.searchsorted(self._keys, np.array(wanted, _TYPE)))
        return at if at < len(self._keys) and bytes(self._keys[at]) == wanted.rstrip(b"\0") else None

    def _settle(self) -> None:
        """Sort in what came last."""
        if not self._new:
            return
        keys: list[bytes] = []
        values: list[bytes] = []
        for key, value in self._new.items():
            pair = packed(key), packed(value)
            if pair[0] is None or pair[1] is None:
                self._rest[key] = value
            else:
                self._rest.pop(key, None)
                keys.append(pair[0])
                values.append(pair[1])
        self._new = {}
        every = np.concatenate([self._keys, np.array(keys, _TYPE)])
        told = np.concatenate([self._values, np.array(values, _TYPE)])
        order = np.argsort(every, kind="stable")
        every = every[order]
        # of one key that is there twice the last
        last = np.append(every[1:] != every[:-1], True) if len(every) else np.empty(0, bool)
        self._keys, self._values = every[last], told[order][last]


class IdSet:
    """Counts ids, each once, in 16 bytes each; an id of another form stands by its digest."""

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self._bytes = bytearray()
        self.update(ids)

    def update(self, ids: Iterable[str]) -> None:
        """Take in some more."""
        for one in ids:
            found = packed(one)
            self._bytes += found[1:] if found is not None and found.startswith(_HEX) else digest(one)[: _WIDTH - 1]

    def sorted(self) -> _Packed:
        """Return all of them, in an order of their own, to be counted and held against others."""
        return np.unique(np.frombuffer(bytes(self._bytes), f"S{_WIDTH - 1}"))
