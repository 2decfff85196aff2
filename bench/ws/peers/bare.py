"""The floor: one Python loop that calls `send` on each subscriber's socket, and nothing else.

Usage: python -m bench.ws.peers.bare PORT CONTROL. It upgrades whoever comes and notes who wants
which symbol. It does not see to it that anything arrives: a socket that is full loses an update.
"""

from __future__ import annotations

import json
import select
import socket
import sys
from collections import defaultdict

from bench.upstream.echo import frame, split_frame
from bench.ws import wire

BACKLOG = 4096
BATCH = 64


class Bare:
    def __init__(self, port: int, control: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
        self._listener.setblocking(False)
        self._control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._control.bind(("127.0.0.1", control))
        self._control.setblocking(False)
        self._clients: dict[int, socket.socket] = {}
        self._open: set[int] = set()
        self._wanted: dict[str, list[socket.socket]] = defaultdict(list)
        self._number = 0

    def serve(self) -> None:
        poll = select.epoll()
        poll.register(self._listener.fileno(), select.EPOLLIN)
        poll.register(self._control.fileno(), select.EPOLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._listener.fileno():
                    self._accept(poll)
                elif descriptor == self._control.fileno():
                    self._broadcast(self._control.recv(65536))
                else:
                    self._read(descriptor)

    def _broadcast(self, event: bytes) -> None:
        self._number += 1
        message = wire.update(event, self._number)
        data = frame(wire.TEXT, wire.compact(message))
        for client in self._wanted[message["symbol"]]:
            client.send(data)

    def _accept(self, poll: select.epoll) -> None:
        for _ in range(BATCH):
            try:
                client, _ = self._listener.accept()
            except BlockingIOError:
                return
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._clients[client.fileno()] = client
            poll.register(client.fileno(), select.EPOLLIN)

    def _read(self, descriptor: int) -> None:
        client = self._clients[descriptor]
        try:
            data = client.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self._close(descriptor)
        elif descriptor not in self._open:
            welcome = wire.compact({"type": "welcome", "connection_id": f"{descriptor:016x}"})
            client.send(wire.switching(data) + frame(wire.TEXT, welcome))
            self._open.add(descriptor)
        else:
            self._hear(client, data)

    def _hear(self, client: socket.socket, data: bytes) -> None:
        while (found := split_frame(data)) is not None:
            first, payload, size = found
            data = data[size:]
            if first == wire.TEXT:
                symbols = json.loads(payload)["symbols"]
                for symbol in symbols:
                    self._wanted[symbol].append(client)
                answer = wire.compact({"type": "subscribed", "symbols": symbols})
                client.send(frame(wire.TEXT, answer))

    def _close(self, descriptor: int) -> None:
        client = self._clients.pop(descriptor)
        self._open.discard(descriptor)
        for wanting in self._wanted.values():
            if client in wanting:
                wanting.remove(client)
        client.close()


if __name__ == "__main__":
    Bare(int(sys.argv[1]), int(sys.argv[2])).serve()
