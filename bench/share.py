"""Gives a process a fixed share of one core.

Two cores cannot show what a second worker brings when load generator and upstream need one of
them. So each worker gets a quarter of the proxy core, and one worker's throughput is compared
with that of two: half the core stays idle, and nobody competes with the workers for theirs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# With 20 ms a held process pays half as much again for each request, with 100 ms nothing that
# could be seen: being stopped and continued has its own price.
PERIOD_US = 100_000
V1_ROOT = Path("/sys/fs/cgroup/cpu")
V2_ROOT = Path("/sys/fs/cgroup")
REMOVE_TRIES = 50

Limit = Callable[[int, float], None]


@dataclass(frozen=True, slots=True)
class Held:
    """How it is done here, and `limit(pid, share of a core)`."""

    by: str
    limit: Limit


@contextmanager
def shares() -> Iterator[Held]:
    """All limits end with the block."""
    for kind, root, write in (
        ("cgroup v2 cpu.max", V2_ROOT, _write_v2),
        ("cgroup v1 cpu.cfs_quota_us", V1_ROOT, _write_v1),
    ):
        if _usable(root, write):
            with _cgroups(root, write) as limit:
                yield Held(f"{kind}, period {PERIOD_US // 1000} ms", limit)
            return
    with _duty_cycle() as limit:
        yield Held(f"stopped and continued, period {PERIOD_US // 1000} ms", limit)


def _write_v2(group: Path, quota_us: int) -> None:
    _set(group / "cpu.max", f"{quota_us} {PERIOD_US}")


def _write_v1(group: Path, quota_us: int) -> None:
    _set(group / "cpu.cfs_period_us", str(PERIOD_US))
    _set(group / "cpu.cfs_quota_us", str(quota_us))


def _set(file: Path, text: str) -> None:
    """Never creates: on a tmpfs in place of a cgroup that would look like success."""
    descriptor = os.open(file, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _usable(root: Path, write: Callable[[Path, int], None]) -> bool:
    probe = root / f"bench-{os.getpid()}-probe"
    try:
        probe.mkdir()
    except OSError:
        return False
    try:
        write(probe, PERIOD_US // 4)
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            probe.rmdir()
    return True


@contextmanager
def _cgroups(root: Path, write: Callable[[Path, int], None]) -> Iterator[Limit]:
    groups: list[tuple[Path, int]] = []

    def limit(pid: int, share: float) -> None:
        group = root / f"bench-{os.getpid()}-{pid}"
        group.mkdir()
        groups.append((group, pid))
        write(group, int(PERIOD_US * share))
        _set(group / "cgroup.procs", str(pid))

    try:
        yield limit
    finally:
        for group, pid in groups:
            with contextlib.suppress(OSError):
                _set(root / "cgroup.procs", str(pid))
            _remove(group)


def _remove(group: Path) -> None:
    """A group can be removed a moment after its last process is gone, not before."""
    for _ in range(REMOVE_TRIES):
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.02)
        else:
            return


@contextmanager
def _duty_cycle() -> Iterator[Limit]:
    """Each process in turn is continued for its part of the period and then stopped."""
    turns: list[tuple[int, float]] = []
    ended = threading.Event()

    def limit(pid: int, share: float) -> None:
        turns.append((pid, share))

    def turn() -> None:
        while not ended.is_set():
            began = time.monotonic()
            for pid, share in turns:
                _signal(pid, signal.SIGCONT)
                time.sleep(share * PERIOD_US / 1e6)
                _signal(pid, signal.SIGSTOP)
            ended.wait(max(0.0, PERIOD_US / 1e6 - (time.monotonic() - began)))

    thread = threading.Thread(target=turn, name="shares", daemon=True)
    thread.start()
    try:
        yield limit
    finally:
        ended.set()
        thread.join()
        for pid, _ in turns:
            _signal(pid, signal.SIGCONT)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
