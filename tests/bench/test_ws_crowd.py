from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench.upstream.echo import frame, split_frame
from bench.ws import wire
from bench.ws.crowd import Crowd

WELCOME = frame(wire.TEXT, b'{"type":"welcome","connection_id":"1"}')


class Driver:
    """The test's end of a crowd's control connection."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._lines = control.makefile("rb")

    def call(self, do: str, **arguments: Any) -> dict[str, Any]:
        self._control.sendall(json.dumps({"do": do, **arguments}).encode() + b"\n")
        return self.answer()

    def answer(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._lines.readline())
        return found

    def close(self) -> None:
        self._lines.close()
        self._control.close()


@contextmanager
def crowd() -> Iterator[Driver]:
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    running = threading.Thread(target=Crowd(theirs).run)
    running.start()
    driver = Driver(ours)
    try:
        yield driver
    finally:
        driver.close()
        running.join(10)
        theirs.close()
        assert not running.is_alive()


class Server:
    """Upgrades one client after another and then says what the test has it say."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.clients: list[socket.socket] = []

    def welcome(self, answer: Callable[[bytes], bytes] | None = None) -> None:
        client, _ = self._listener.accept()
        client.settimeout(10)
        head = client.recv(4096)
        client.sendall(answer(head) if answer else wire.switching(head) + WELCOME)
        self.clients.append(client)

    def subscribe(self, number: int) -> list[str]:
        found = split_frame(self.clients[number].recv(65536))
        assert found is not None
        symbols: list[str] = json.loads(found[1])["symbols"]
        self.say(number, frame(wire.TEXT, b'{"type":"subscribed","symbols":["ALL"]}'))
        return symbols

    def say(self, number: int, data: bytes) -> None:
        self.clients[number].sendall(data)

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self._listener.close()


@contextmanager
def served(count: int) -> Iterator[tuple[Server, Driver]]:
    """A crowd of `count`, all subscribed to ALL."""
    server = Server()
    with crowd() as driver:
        try:
            accepting = threading.Thread(target=lambda: [server.welcome() for _ in range(count)])
            accepting.start()
            found = driver.call("open", port=server.port, count=count, rate=1000, within=10)
            accepting.join(10)
            assert found["opened"] == count
            answering = threading.Thread(
                target=lambda: [server.subscribe(number) for number in range(count)]
            )
            answering.start()
            assert driver.call("subscribe", symbol=wire.ALL, within=10)["subscribed"] == count
            answering.join(10)
            yield server, driver
        finally:
            server.close()


def update(symbol: str) -> bytes:
    return frame(wire.TEXT, wire.compact(wire.update(wire.event(symbol, 1), 1)))


def test_update_to_all_is_counted_once_for_each_client() -> None:
    with served(3) as (server, driver):
        driver.call("expect", frames=3, within=10)
        for number in range(3):
            server.say(number, update(wire.ALL))
        found = driver.answer()

    assert found["arrived"] == 3
    assert found["kinds"] == {}
    assert found["bytes"] == len(update(wire.ALL))
    assert 0 < found["half_ns"] <= found["last_ns"]


def test_update_that_comes_in_two_parts_or_two_in_one_is_counted_as_what_it_is() -> None:
    data = update(wire.ALL)
    with served(1) as (server, driver):
        driver.call("expect", frames=3, within=10)
        server.say(0, data + data[:50])
        server.say(0, data[50:] + data)
        found = driver.answer()

    assert found["arrived"] == 3


def test_update_that_nobody_expected_is_seen() -> None:
    with served(1) as (server, driver):
        driver.call("expect", frames=1, within=10)
        server.say(0, update(wire.ALL) * 2)

        assert driver.answer()["arrived"] == 2


def test_update_that_does_not_come_is_missed_when_the_time_is_over() -> None:
    with served(2) as (server, driver):
        driver.call("expect", frames=2, within=0.05)
        server.say(0, update(wire.ALL))

        assert driver.answer()["arrived"] == 1


def test_symbol_that_a_client_did_not_ask_for_is_wrong() -> None:
    with served(1) as (server, driver):
        driver.call("expect", frames=2, within=10, check=True)
        server.say(0, update(wire.ALL) + update("OTHER"))
        found = driver.answer()

    assert found["arrived"] == 2
    assert found["kinds"] == {"wrong": 1}
    assert found["p50_us"] > 0


def test_warning_counts_what_was_dropped() -> None:
    with served(1) as (server, driver):
        driver.call("expect", frames=1, within=10)
        server.say(0, frame(wire.TEXT, b'{"type":"warning","dropped":7}') + update(wire.ALL))

        assert driver.answer()["kinds"] == {"warning": 1, "dropped": 7}


def test_ping_is_answered() -> None:
    with served(1) as (server, driver):
        driver.call("expect", frames=1, within=10)
        server.say(0, frame(wire.PING, b"you there") + update(wire.ALL))

        assert driver.answer()["kinds"] == {"ping": 1}
        assert server.clients[0].recv(4096) == wire.masked(wire.PONG, b"you there")


def test_client_that_is_cut_off_is_lost_and_the_others_go_on() -> None:
    with served(2) as (server, driver):
        server.clients[0].close()
        driver.call("expect", frames=1, within=10)
        server.say(1, update(wire.ALL))

        assert driver.answer()["arrived"] == 1
        found = driver.call("count")

    assert found["clients"] == 1
    assert found["kinds"]["lost"] == 1


def test_refused_upgrade_is_no_connection() -> None:
    server = Server()
    refusing = threading.Thread(
        target=server.welcome, args=(lambda head: b"HTTP/1.1 403 Forbidden\r\n\r\n",)
    )
    refusing.start()
    with crowd() as driver:
        found = driver.call("open", port=server.port, count=1, rate=1000, within=10)
    refusing.join(10)
    server.close()

    assert found["opened"] == 0
