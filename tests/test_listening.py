"""Sockets to listen on: ports, families, and addresses that are not there."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway import listening


@pytest.fixture
def bound() -> Iterator[Callable[..., list[list[socket.socket]]]]:
    opened: list[list[list[socket.socket]]] = []

    def binder(*arguments: Any) -> list[list[socket.socket]]:
        opened.append(listening.bind(*arguments))
        return opened[-1]

    yield binder
    for slots in opened:
        listening.close_all(slots)


def test_port_0_is_one_free_port_for_all_slots(bound):
    slots = bound("127.0.0.1", 0, 3)

    assert len({own[0].getsockname() for own in slots}) == 1
    assert slots[0][0].getsockname()[1] != 0


def test_ipv6_host_is_listened_on(bound):
    ((listener,),) = bound("::1", 0, 1)

    assert listener.family == socket.AF_INET6
    assert listener.getsockname()[0] == "::1"


def test_host_of_two_addresses_has_one_port(bound, monkeypatch):
    def both(host: str | None, port: int, **_: Any) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", both)

    slots = bound("localhost", 0, 2)

    assert [len(own) for own in slots] == [2, 2]
    assert len({listener.getsockname()[1] for own in slots for listener in own}) == 1


def test_address_this_machine_lacks_is_passed_over_for_another(bound, monkeypatch):
    def both(host: str | None, port: int, **_: Any) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", both)

    ((listener,),) = bound("somewhere", 0, 1)

    assert listener.getsockname()[0] == "127.0.0.1"


def test_address_this_machine_lacks_alone_is_an_error():
    with pytest.raises(OSError, match="Cannot assign"):
        listening.bind("192.0.2.1", 0, 1)
