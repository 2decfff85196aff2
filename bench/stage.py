"""Sets the stage: folder, files, upstreams, and the peers that are to be had."""

from __future__ import annotations

import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import predicted, templates
from bench.children import (
    BenchError,
    Child,
    Children,
    Cores,
    clean_environment,
    free_port,
    wait_for_port,
)
from bench.lineup import Found, Peer
from bench.loads import KEY_FIELD, SIZES, SMALL_BODY

HERE = Path(__file__).parent
ROUTES_SECONDS = 5.0
KEY_SECONDS = 20.0
TIERS = ("pro", "free")
PREDICTIONS = "predictions.db"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is to be run, in which folder, with which environment added."""

    program: str
    command: list[str]
    home: Path
    environment: dict[str, str]


@dataclass(frozen=True, slots=True)
class Running:
    """`keys` are the API keys that the peer knows, by tier; most ask for none."""

    peer: Peer
    child: Child
    port: int
    keys: Mapping[str, str] = field(default_factory=dict)


class Stage:
    """Everything of one run lives in `folder` and ends with `children`."""

    def __init__(self, folder: Path, children: Children, cores: Cores, found: Found) -> None:
        self.folder = folder
        self.children = children
        self.cores = cores
        self.found = found
        self.upstream = free_port()
        self.echo = free_port()
        self.redis = free_port()
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
        predicted.write_file(self.folder / PREDICTIONS)
        self._start_redis()

    def _start_redis(self) -> None:
        program = self.found.redis()
        if program is None:
            return
        command = [program, "--port", str(self.redis), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no"]
        home = self.folder / "redis"
        home.mkdir()
        wait_for_port(self.children.start("redis", command, self.cores.load, home), self.redis)
        predicted.tell_redis(self.redis)

    def start(self, peer: Peer, **extra: str) -> Running:
        """Starts a peer on a free port and sees to it that it forwards. Raises BenchError."""
        self._started += 1
        name = f"{peer.name}-{self._started}"
        home = self.folder / name
        home.mkdir()
        port = free_port()
        prepared = self._prepare(peer, home, port, extra)
        keys = peer.keys or self._create_keys(peer, prepared)
        running = Running(peer, self._run(name, prepared), port, keys)
        wait_for_port(running.child, port)
        self.expect_small(port, "/api/service1/small", keys.get("pro"))
        return running

    def launch(self, peer: Peer, name: str, home: Path, port: int, **extra: str) -> Child:
        """Writes the configuration and starts the program; does not wait for it."""
        return self._run(name, self._prepare(peer, home, port, extra))

    def _run(self, name: str, prepared: Prepared) -> Child:
        command = [prepared.program, *prepared.command]
        return self.children.start(
            name, command, self.cores.proxy, prepared.home, prepared.environment
        )

    def _prepare(self, peer: Peer, home: Path, port: int, extra: Mapping[str, str]) -> Prepared:
        program = self.found.peer(peer)
        if program is None:
            raise BenchError(f"{peer.name} is not installed: {peer.get}")
        values = self._values(home, port)
        values |= {name: templates.fill(text, values) for name, text in peer.settings.items()}
        values |= extra
        values |= {f"KEY_{tier.upper()}": key for tier, key in peer.keys.items()}
        values["FULL"] = str(not peer.bare).lower()
        for template, target in peer.templates:
            templates.write(template, home / target, values, bare=peer.bare)
        command = [templates.fill(part, values) for part in peer.command]
        environment = {k: templates.fill(v, values) for k, v in peer.environment.items()}
        return Prepared(program, command, home, environment)

    def _create_keys(self, peer: Peer, prepared: Prepared) -> dict[str, str]:
        """A key for each tier as the peer's own command makes it. Raises BenchError."""
        keys = {}
        for tier in TIERS if peer.create_key else ():
            values = {"DIR": str(prepared.home), "TIER": tier}
            done = subprocess.run(
                [prepared.program, *(templates.fill(part, values) for part in peer.create_key)],
                cwd=prepared.home,
                env=clean_environment(prepared.environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=KEY_SECONDS,
                check=False,
            )
            if done.returncode or not done.stdout.strip():
                told = (done.stderr or done.stdout).strip()[-400:]
                raise BenchError(f"no key of the tier {tier}: {told}")
            keys[tier] = done.stdout.splitlines()[-1].strip()
        return keys

    def expect_small(self, port: int, path: str, key: str | None = None) -> None:
        """Some open their port before they have routes, so it may take more than one try."""
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", headers={KEY_FIELD: key} if key else {}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + ROUTES_SECONDS
        while True:
            try:
                with opener.open(asked, timeout=5) as answer:
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
            "REDIS": str(self.redis),
            "PREDICTIONS": str(self.folder / PREDICTIONS),
            "PREDICTION": predicted.answer(),
            "SMALL_BODY": SMALL_BODY,
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
