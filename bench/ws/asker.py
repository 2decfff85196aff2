"""Asks GET at a fixed rate over a few connections, whatever else the server does.

Usage: python -m bench.ws.asker PORT --path /health --rate 1000 --seconds 5. Prints one line of JSON
with the names of the wrk script. A request's time runs from when it was due: one that had to
wait for a free connection, as the server was busy, has waited.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import socket
import time
from collections import deque
from contextlib import suppress

from bench.wsload import percentile

CONNECTIONS = 32
READ_BYTES = 65536
# For those that are still on their way, or still wait for a connection, when the time is over.
LATE_SECONDS = 5.0
FIRST = -10


class Asker:
    """Connections take turns, one request on each at a time."""

    def __init__(self, port: int, path: str, rate: float) -> None:
        self._request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        self._rate = rate
        self._free: deque[socket.socket] = deque()
        self._due_ns: dict[socket.socket, int] = {}
        self._parts: dict[socket.socket, bytes] = {}
        self.latencies_ns: list[int] = []
        self.read = self.wrong = self.bytes = 0
        self._connections = [
            socket.create_connection(("127.0.0.1", port), LATE_SECONDS) for _ in range(CONNECTIONS)
        ]
        for connection in self._connections:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._free.append(connection)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def run(self, seconds: float) -> dict[str, int]:
        every = int(1e9 / self._rate)
        began = due = time.perf_counter_ns()
        end = began + int(seconds * 1e9)
        last = end + int(LATE_SECONDS * 1e9)
        while due < end and (now := time.perf_counter_ns()) < last:
            while self._free and due < end and due <= now:
                self._ask(due)
                due += every
            wait = max(0, due - now) if self._free else last - now
            self._hear(wait / 1e9)
        took = time.perf_counter_ns() - began
        never = (end - due) // every if due < end else 0
        while self._due_ns and (left := last - time.perf_counter_ns()) > 0:
            self._hear(left / 1e9)
        ordered = sorted(self.latencies_ns)
        return {
            "duration_us": took // 1000,
            "requests": len(ordered),
            "bytes": self.bytes,
            "connect": 0,
            "read": self.read,
            "write": 0,
            "status": self.wrong,
            "timeout": len(self._due_ns) + never,
            "wrong": 0,
            "p50_us": percentile(ordered, 0.50) // 1000,
            "p95_us": percentile(ordered, 0.95) // 1000,
            "p99_us": percentile(ordered, 0.99) // 1000,
            "max_us": (ordered[-1] if ordered else 0) // 1000,
        }

    def _ask(self, due: int) -> None:
        connection = self._free.popleft()
        self._due_ns[connection] = due
        connection.send(self._request)

    def _hear(self, seconds: float) -> None:
        ready, _, _ = select.select(list(self._due_ns), [], [], seconds)
        for connection in ready:
            data = b""
            with suppress(OSError):
                data = connection.recv(READ_BYTES)
            self.bytes += len(data)
            whole = self._parts.pop(connection, b"") + data
            if not data:
                self.read += 1
                del self._due_ns[connection]
            elif complete(whole):
                self.latencies_ns.append(time.perf_counter_ns() - self._due_ns.pop(connection))
                self.wrong += not whole.startswith(b"HTTP/1.1 200 ")
                self._free.append(connection)
            else:
                self._parts[connection] = whole


def complete(answer: bytes) -> bool:
    """Whether head and body are there; all that is asked here is framed by a length."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    length = head.lower().rpartition(b"content-length:")[2].partition(b"\r\n")[0]
    return len(body) >= int(length or b"0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--path", default="/health")
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--seconds", type=float, default=5)
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # It shares its core with ten thousand clients, whose turn is not what it measures.
    with suppress(OSError):
        os.nice(FIRST)
    print(json.dumps(Asker(args.port, args.path, args.rate).run(args.seconds)))


if __name__ == "__main__":
    main()
