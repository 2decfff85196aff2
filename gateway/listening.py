"""The sockets that the gateway listens on."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Final

BACKLOG: Final = 4096
"""Connections queued for each socket; the kernel caps it at net.core.somaxconn."""

# What a name may stand for and this machine not have: IPv6 in a container, most often.
_NOT_HERE: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def bind(host: str, port: int, slots: int) -> list[list[socket.socket]]:
    """Listening sockets for each slot, one for each address that `host` stands for.

    Port 0 becomes one free port, the same for all. With one slot the port is not shared: a
    second gateway that was started by mistake gets an error instead of half the requests.
    With several that is tried first. Raises OSError; an address that this machine does not
    have is passed over when `host` stands for another as well.
    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[list[socket.socket]] = [[] for _ in range(slots)]
    missing: OSError | None = None
    try:
        for family, address in dict.fromkeys((entry[0], entry[4]) for entry in found):
            try:
                alone = _bound(family, (address[0], port, *address[2:]), shared=False)
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing = error
                continue
            port = alone.getsockname()[1]
            if slots == 1:
                sockets[0].append(alone)
                continue
            alone.close()
            for own in sockets:
                own.append(_bound(family, (address[0], port, *address[2:]), shared=True))
        if missing and not sockets[0]:
            raise missing
        for own in sockets:
            for listener in own:
                listener.listen(BACKLOG)
    except OSError:
        close_all(sockets)
        raise
    return sockets


def _bound(family: int, address: tuple[object, ...], shared: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # Whatever the system's default: IPv4 clients by their own addresses, not as ::ffff:…
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setblocking(False)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def close_all(slots: Sequence[Sequence[socket.socket]]) -> None:
    """Closes the sockets of all slots; closed ones stay closed."""
    for own in slots:
        for listener in own:
            listener.close()
