"""A loopback forwarder of TCP: what passes it is kept, where that is asked for."""

from __future__ import annotations

import contextlib
import socket
import threading


class Forwarder:
    """Listens at ``host`` (port 0: any) and passes everything on to ``target`` (``HOST:PORT``), both ways."""

    def __init__(self, target: str, *, host: str = "127.0.0.1", keep: bool = False) -> None:
        name, _, port = target.rpartition(":")
        self._target = (name, int(port))
        self._keep = keep
        self._seen: list[bytes] = []
        self._open: list[socket.socket] = []
        self._listening = socket.create_server((host, 0))
        self.address = f"{host}:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Forwarder:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listening, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    @property
    def seen(self) -> bytes:
        """Everything that passed, in the order of its pieces."""
        return b"".join(self._seen)

    def _accept(self) -> None:
        while True:
            try:
                mine, _ = self._listening.accept()
            except OSError:
                return
            theirs = socket.create_connection(self._target)
            self._open += [mine, theirs]
            for one, other in ((mine, theirs), (theirs, mine)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := one.recv(65_536):
                if self._keep:
                    self._seen.append(piece)
                other.sendall(piece)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
