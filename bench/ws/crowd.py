"""Ten thousand clients of one server, in a process of their own.

Usage: python -m bench.ws.crowd CONTROL. It connects to that port of 127.0.0.1, reads commands
there, a line of JSON each, and answers each with such a line. Plain sockets and epoll: a client
that cost more than the server would be what is measured.
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import resource
import select
import signal
import socket
import time
from collections import Counter
from typing import Any

from bench.ws import wire
from bench.wsload import percentile

READ_BYTES = 4096
# A source address has 28,000 ports to one server where the kernel is as it comes.
CLIENTS_PER_ADDRESS = 20_000
IP_BIND_ADDRESS_NO_PORT = 24
CONNECT_SECONDS = 10.0
# Waited for after the last frame that was expected: those that nobody expected would come now.
LINGER_SECONDS = 0.02
SYMBOL = re.compile(rb'"symbol":"([A-Z]+)"')
SENT = re.compile(rb'"sent_ns":(\d+)')
DROPPED = re.compile(rb'"dropped":(\d+)')
KIND = re.compile(rb'^{"type":"([a-z_]+)"')


class Crowd:
    """`call` does one command; `turn` is all that ever reads."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._said = b""
        self._poll = select.epoll()
        self._poll.register(control.fileno(), select.EPOLLIN)
        self._clients: dict[int, socket.socket] = {}
        self._rests: dict[int, bytes] = {}
        self._began_ns: dict[int, int] = {}
        self._welcome_ns: list[int] = []
        self._opened_ns = 0
        self._symbols: dict[int, frozenset[bytes]] | None = None
        self._stamps: list[int] = []
        self._delays_ns: list[int] = []
        self._kinds: Counter[str] = Counter()
        self._bytes = 0

    def run(self) -> None:
        """Until the driver closes its end."""
        while True:
            line, end, rest = self._said.partition(b"\n")
            if end:
                self._said = rest
                self.call(**json.loads(line))
            elif not self.turn(-1):
                return

    def say(self, **answer: Any) -> None:
        self._control.sendall(json.dumps(answer).encode() + b"\n")

    def call(self, do: str, **arguments: Any) -> None:
        self.say(**getattr(self, f"do_{do}")(**arguments))

    # ---------------------------------------------------------------------------- commands

    def do_open(self, port: int, count: int, rate: float, within: float) -> dict[str, Any]:
        """Connects `count` clients, `rate` of them a second, and waits for their welcome."""
        request = wire.handshake(port)
        before = len(self._welcome_ns)
        began = time.perf_counter_ns()
        deadline = began + int((count / rate + within) * 1e9)
        for number in range(count):
            due = began + int(number / rate * 1e9)
            while (ahead := due - time.perf_counter_ns()) > 0:
                self.turn(ahead / 1e9 if ahead > 2_000_000 else 0)
            if due > deadline:
                break
            self._connect(port, request, number)
            if number % 8 == 7:
                self.turn(0)
        while self._began_ns and time.perf_counter_ns() < deadline:
            self.turn(0.05)
        waits = sorted(self._welcome_ns[before:])
        # What lives as long as the run is not to be walked while frames are counted.
        gc.collect()
        gc.freeze()
        return {
            "opened": len(waits),
            "seconds": (self._opened_ns - began) / 1e9,
            "p50_us": percentile(waits, 0.5) // 1000,
            "p95_us": percentile(waits, 0.95) // 1000,
        }

    def do_subscribe(self, symbol: str, within: float) -> dict[str, Any]:
        """All take the one symbol."""
        return self._subscribe([[symbol]] * len(self._clients), within)

    def do_share(self, symbols: int, subscribers: int, within: float) -> dict[str, Any]:
        """So many symbols more, each taken by so many."""
        return self._subscribe(wire.shares(len(self._clients), symbols, subscribers), within)

    def _subscribe(self, taken: list[list[str]], within: float) -> dict[str, Any]:
        """Waits for the answers, of those whom nobody answers only so long."""
        self._symbols = {}
        sent = 0
        before = self._kinds["subscribed"]
        for number, (descriptor, client) in enumerate(tuple(self._clients.items())):
            self._symbols[descriptor] = frozenset(name.encode() for name in taken[number])
            if taken[number]:
                client.send(wire.subscribe(taken[number]))
                sent += 1
            if number % 8 == 7:
                self.turn(0)
        deadline = time.monotonic() + within
        while (done := self._kinds["subscribed"] - before) < sent and time.monotonic() < deadline:
            self.turn(0.05)
        return {"sent": sent, "subscribed": done}

    def do_count(self) -> dict[str, Any]:
        """Who is still there, and what came that was no update, by its type."""
        return {"clients": len(self._clients), "kinds": dict(self._kinds)}

    def do_expect(self, frames: int, within: float, check: bool = False) -> dict[str, Any]:
        """Says at once that it waits, and again when so many updates came or the time is over.

        `check`: each update is looked at for its symbol and for how long ago it was sent, which
        costs more than counting it. Without it the time of each arrival is what is told.
        """
        self._stamps, self._delays_ns = [], []
        kinds, counted, size = self._kinds.copy(), self._symbols, self._bytes
        if not check:
            self._symbols = None
        self.say(waiting=frames)
        deadline = time.monotonic() + within
        while len(self._stamps) < frames and (left := deadline - time.monotonic()) > 0:
            self.turn(left)
        over = time.monotonic() + LINGER_SECONDS
        while (left := over - time.monotonic()) > 0:
            self.turn(left)
        self._symbols = counted
        stamps, delays = self._stamps, sorted(self._delays_ns)
        return {
            "arrived": len(stamps),
            "half_ns": stamps[len(stamps) // 2] if stamps else 0,
            "last_ns": stamps[-1] if stamps else 0,
            "bytes": (self._bytes - size) // len(stamps) if stamps else 0,
            "kinds": dict(self._kinds - kinds),
            "p50_us": percentile(delays, 0.5) // 1000,
            "p95_us": percentile(delays, 0.95) // 1000,
            "max_us": (delays[-1] if delays else 0) // 1000,
        }

    # -------------------------------------------------------------------------- connections

    def _connect(self, port: int, request: bytes, number: int) -> None:
        client = socket.socket()
        source = f"127.0.0.{1 + number // CLIENTS_PER_ADDRESS}"
        try:
            client.settimeout(CONNECT_SECONDS)
            client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            client.bind((source, 0))
            began = time.perf_counter_ns()
            client.connect(("127.0.0.1", port))
            client.setblocking(False)
            client.send(request)
        except OSError:
            client.close()
            self._kinds["refused"] += 1
            return
        descriptor = client.fileno()
        self._clients[descriptor] = client
        self._began_ns[descriptor] = began
        self._poll.register(descriptor, select.EPOLLIN)

    def turn(self, seconds: float) -> bool:
        """Reads what there is. False when the driver is gone."""
        clients, rests = self._clients, self._rests
        for descriptor, _ in self._poll.poll(seconds):
            client = clients.get(descriptor)
            if client is None:
                if not self._listen():
                    return False
                continue
            try:
                data = client.recv(READ_BYTES)
            except OSError:
                data = b""
            if not data:
                self._lose(descriptor)
            elif rests or len(data) < 4 or not self._whole_update(data):
                self._take(descriptor, client, rests.pop(descriptor, b"") + data)
            elif self._symbols is None:
                self._stamps.append(time.perf_counter_ns())
                self._bytes += len(data)
            else:
                self._check(descriptor, data, time.perf_counter_ns())
        return True

    @staticmethod
    def _whole_update(data: bytes) -> bool:
        """The frame that nearly all are: one text of 126 bytes or more and nothing else."""
        return (
            data[0] == wire.TEXT
            and data[1] == 126
            and len(data) == 4 + (data[2] << 8 | data[3])
            and data.startswith(wire.UPDATE, 4)
        )

    def _take(self, descriptor: int, client: socket.socket, data: bytes) -> None:
        if descriptor in self._began_ns and data.startswith(b"HTTP/"):
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._rests[descriptor] = head
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self._lose(descriptor)
                return
        taken = 0
        now = time.perf_counter_ns()
        for first, start, end_at in wire.split(data):
            payload = data[start:end_at]
            if first == wire.TEXT:
                self._text(descriptor, payload, now)
            elif first == wire.PING:
                client.send(wire.masked(wire.PONG, payload))
                self._kinds["ping"] += 1
            elif first == wire.CLOSE:
                self._kinds["close"] += 1
            taken = end_at
        if taken < len(data):
            self._rests[descriptor] = data[taken:]

    def _text(self, descriptor: int, payload: bytes, now: int) -> None:
        if payload.startswith(wire.UPDATE):
            self._bytes += len(payload) + (2 if len(payload) < 126 else 4)
            if self._symbols is None:
                self._stamps.append(now)
            else:
                self._check(descriptor, payload, now)
            return
        found = KIND.match(payload.replace(b" ", b""))
        kind = found[1].decode() if found else "unknown"
        self._kinds[kind] += 1
        if kind == "welcome" and (began := self._began_ns.pop(descriptor, 0)):
            self._opened_ns = now
            self._welcome_ns.append(now - began)
        elif kind == "warning" and (lost := DROPPED.search(payload)):
            self._kinds["dropped"] += int(lost[1])

    def _check(self, descriptor: int, data: bytes, now: int) -> None:
        self._stamps.append(now)
        symbol, sent = SYMBOL.search(data), SENT.search(data)
        mine = (self._symbols or {}).get(descriptor, ())
        if symbol is None or sent is None or symbol[1] not in mine:
            self._kinds["wrong"] += 1
            return
        self._delays_ns.append(now - int(sent[1]))

    def _lose(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        self._clients.pop(descriptor).close()
        self._rests.pop(descriptor, None)
        self._began_ns.pop(descriptor, None)
        self._kinds["lost"] += 1

    def _listen(self) -> bool:
        said = self._control.recv(1 << 20)
        self._said += said
        return bool(said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("control", type=int)
    args = parser.parse_args()
    # The driver decides when it ends, also at a Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with socket.create_connection(("127.0.0.1", args.control)) as control:
        control.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Crowd(control).run()


if __name__ == "__main__":
    main()
