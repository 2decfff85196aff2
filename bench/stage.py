"""Sets the stage: folder, files, upstreams, and the peers that are to be had."""

from __future__ import annotations

import os
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import templates
from bench.children import BenchError, Child, Children, Cores, free_port, wait_for_port
from bench.lineup import Found, Peer
from bench.loads import SIZES, SMALL_BODY

HERE = Path(__file__).parent
ROUTES_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Running:
    peer: Peer
    child: Child
    port: int


class Stage:
    """Everything of one run lives in `folder` and ends with `children`."""

    def __init__(self, folder: Path, children: Children, cores: Cores, found: Found) -> None:
        self.folder = folder
        self.children = children
        self.cores = cores
        self.found = found
        self.upstream = free_port()
        self.echo = free_port()
        self._started = 0

    def start_upstreams(self, nginx: str) -> None:
        home = self.folder / "upstream"
        home.mkdir()
        for name, size in SIZES.items():
            (home / name).write_bytes(b"x" * size)
        values = self._values(home, self.upstream) | {
            "FILES": str(home),
            "SMALL_BODY": SMALL_BODY,
        }
        templates.write("upstream/nginx.conf", home / "nginx.conf", values)
        command = [nginx, "-p", str(home), "-c", str(home / "nginx.conf")]
        wait_for_port(
            self.children.start("upstream", command, self.cores.load, home), self.upstream
        )
        python = self.found.program("python") or "python3"
        echo = self.children.start(
            "echo", [python, str(HERE / "upstream" / "echo.py"), str(self.echo)], self.cores.load
        )
        wait_for_port(echo, self.echo)
        self.expect_small(self.upstream, "/api/small")

    def start(self, peer: Peer, **extra: str) -> Running:
        """Starts a peer on a free port and sees to it that it forwards. Raises BenchError."""
        self._started += 1
        name = f"{peer.name}-{self._started}"
        home = self.folder / name
        home.mkdir()
        port = free_port()
        running = Running(peer, self.launch(peer, name, home, port, **extra), port)
        wait_for_port(running.child, port)
        self.expect_small(port, "/api/service1/small")
        return running

    def launch(self, peer: Peer, name: str, home: Path, port: int, **extra: str) -> Child:
        """Writes the configuration and starts the program; does not wait for it."""
        program = self.found.peer(peer)
        if program is None:
            raise BenchError(f"{peer.name} is not installed: {peer.get}")
        values = self._values(home, port) | peer.settings | extra
        values["FULL"] = str(not peer.bare).lower()
        for template, target in peer.templates:
            templates.write(template, home / target, values, bare=peer.bare)
        command = [program, *(templates.fill(part, values) for part in peer.command)]
        environment = {k: templates.fill(v, values) for k, v in peer.environment.items()}
        return self.children.start(name, command, self.cores.proxy, home, environment)

    def expect_small(self, port: int, path: str) -> None:
        """Some open their port before they have routes, so it may take more than one try."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + ROUTES_SECONDS
        while True:
            try:
                with opener.open(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                    if answer.read() == SMALL_BODY.encode():
                        return
                    found = "another body"
            except OSError as error:
                found = str(error)
            if time.monotonic() > deadline:
                raise BenchError(f"port {port} does not serve {path}: {found}")
            time.sleep(0.05)

    def _values(self, home: Path, port: int) -> dict[str, str]:
        return {
            "DIR": str(home),
            "PEERS": str(HERE / "peers"),
            "PORT": str(port),
            "UPSTREAM": str(self.upstream),
            "ECHO": str(self.echo),
            "WORKERS": "1",
            # nginx started by root would give its worker to a user who may not read here.
            "USER_LINE": "user root;" if os.geteuid() == 0 else "",
        }

    @contextmanager
    def briefly(self, peer: Peer, **extra: str) -> Iterator[Running]:
        running = self.start(peer, **extra)
        try:
            yield running
        finally:
            self.children.stop(running.child)
