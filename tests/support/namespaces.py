"""Network namespaces: each has a loopback of its own, and a network to this process and to the others."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

_NET = "10.213"


def own_address(number: int) -> str:
    """The address of this process in the network with a namespace."""
    return f"{_NET}.{number}.1"


def guest_address(number: int) -> str:
    """The address of a namespace in that network."""
    return f"{_NET}.{number}.2"


@contextmanager
def namespace(number: int) -> Iterator[str]:
    """Make a namespace that reaches this process by an address, and all other namespaces through it; needs root."""
    name, mine, theirs = f"parity-{number}", f"parity-h{number}", f"parity-g{number}"
    _ip("netns", "add", name)
    try:
        _ip("link", "add", mine, "type", "veth", "peer", "name", theirs, "netns", name)
        _ip("addr", "add", f"{own_address(number)}/24", "dev", mine)
        _ip("link", "set", mine, "up")
        within = ("netns", "exec", name, "ip")
        _ip(*within, "addr", "add", f"{guest_address(number)}/24", "dev", theirs)
        _ip(*within, "link", "set", theirs, "up")
        _ip(*within, "link", "set", "lo", "up")
        _ip(*within, "route", "add", "default", "via", own_address(number))
        yield name
    finally:
        # the pair of devices goes with it
        _ip("netns", "delete", name)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
