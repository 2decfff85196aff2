"""Starts the programs of a run, each pinned and logged, and ends every one of them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 3.0
READY_SECONDS = 20.0


class BenchError(Exception):
    """A program of the run could not be started or gave no usable answer."""


@dataclass(frozen=True, slots=True)
class Cores:
    """One core is the proxies' alone, the rest belong to load generators and upstreams."""

    load: frozenset[int]
    proxy: frozenset[int]

    @classmethod
    def split(cls, available: set[int]) -> Cores:
        *load, proxy = sorted(available)
        return cls(load=frozenset(load or [proxy]), proxy=frozenset([proxy]))


@dataclass(frozen=True, slots=True)
class Child:
    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-800:].strip()


class Children:
    """Owns what it starts. Each child leads a session of its own, so a group ends as one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[Child] = []
        self._libc = ctypes.CDLL(None, use_errno=True)

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while self._running:
            self.stop(self._running[-1])

    def start(
        self,
        name: str,
        command: Sequence[str],
        cores: frozenset[int],
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        log = self._folder / f"{name}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder or self._folder,
                env=clean_environment(environment or {}),
                start_new_session=True,
                preexec_fn=self._before(cores),
            )
        child = Child(name, popen, log)
        self._running.append(child)
        return child

    def stop(self, child: Child) -> None:
        """SIGTERM to the leader, who knows how to end the rest; then SIGKILL to the group."""
        self._running.remove(child)
        if child.popen.poll() is None:
            child.popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.popen.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.popen.wait()
        wait_for_group(child.pid)

    def _before(self, cores: frozenset[int]) -> Callable[[], None]:
        def prepare() -> None:
            os.sched_setaffinity(0, cores)
            # Ends the child also when the benchmark itself is killed.
            self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

        return prepare


def wait_for_group(leader: int) -> None:
    """Until nobody of the group is left; bounded, where nobody reaps orphans."""
    deadline = time.monotonic() + STOP_SECONDS
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(leader, 0)
            time.sleep(0.002)


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Nothing that the user has set may change what a peer does."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
    return {**kept, **extra}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(child: Child, port: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if child.popen.poll() is not None:
            raise BenchError(f"{child.name} ended with {child.popen.returncode}: {child.tail()}")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.005)
    raise BenchError(f"{child.name} did not open its port in {READY_SECONDS:.0f} s: {child.tail()}")
