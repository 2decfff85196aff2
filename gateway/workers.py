"""The parent process: binds once, starts the workers, replaces the dead and the hung.

Each worker has a slot, and the slot has listening sockets of its own for life (SO_REUSEPORT), held
open here: connections that were queued for a worker when it died are served by its successor. The
parent runs no event loop and has no threads, so that forking at any time is safe. It sleeps until
a signal comes or it is time to look at the workers' heartbeats, which lie in shared memory.

With one worker there is no parent: the worker is this process.

For a worker, the parent's word is a signal: SIGTERM to drain, SIGHUP to reload. Ctrl-C in
a terminal reaches the workers as well as the parent, so a worker gets SIGINT and SIGTERM then,
which together are one drain.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol

from gateway import authorities
from gateway.config import ConfigError, Settings
from gateway.listening import bind, close_all
from gateway.shared import Shared, allocate
from gateway.telemetry.events import EventLog
from gateway.telemetry.instruments import Registry
from gateway.telemetry.memory import Region
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.output import STDOUT, write_now

TICK: Final = 1.0
"""s between two looks at the workers, at most."""

YOUNG: Final = 10.0
"""s: a worker that dies before has failed; the next one in its slot waits for a while."""

FIRST_BACKOFF: Final = 0.1
LONGEST_BACKOFF: Final = 10.0

KILL_GRACE: Final = 5.0
"""s that a draining worker gets beyond what the settings give it, to close what it opened."""

_PR_SET_PDEATHSIG: Final = 1
_HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_EXIT_INTERRUPTED: Final = 128 + signal.SIGINT

Reload = Callable[[], Settings]
"""Reads the settings again; raises ConfigError when they are bad."""


class Serve(Protocol):
    """One worker's life; returns its exit code."""

    def __call__(
        self,
        settings: Settings,
        sockets: Sequence[socket.socket],
        shared: Shared,
        slot: int,
        reload: Reload,
    ) -> int:
        """Listen on `sockets`, until SIGTERM or SIGINT has been obeyed.

        `shared.regions[slot]` is the worker's own. It writes its heartbeat there every second, the
        first one when its signal handlers stand.
        """


def run(settings: Settings, reload: Reload, serve: Serve | None = None) -> int:
    """Runs the gateway with as many workers as the settings ask for; returns the exit code."""
    serve = serve or _server()
    count = settings.workers or cores()
    log = EventLog(lambda line: write_now(STDOUT, line), settings.log_level)
    try:
        slots = bind(settings.host, settings.port, count)
    except OSError as error:
        where = f"{settings.host} port {settings.port}"
        log.error(
            "listen_failed",
            problem=f"host, port: cannot listen on {where}: {error.strerror or error}",
        )
        return 1
    shared = allocate(count, settings.stores.counters, settings.cache.shared)
    if count == 1:
        return serve(settings, slots[0], shared, 0, reload)
    return _Parent(settings, reload, serve, log, slots, shared).run()


def _server() -> Serve:
    # Not at the top: the parent's own code is complete, and tested, without the server's.
    with authorities.unread():
        from gateway import server

    return server.run


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def die_with_parent(parent: int) -> None:
    """Has the kernel kill this process when `parent` ends, however it ends. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


class _Signals:
    """Signals as numbers in a socket, so that waiting for them and for time is one wait."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._reader, select.POLLIN)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in _HANDLED:
            signal.signal(number, lambda _number, _frame: None)

    def wait(self, timeout: float) -> bytes:
        """The signals that came, in order, or nothing after `timeout` seconds."""
        if not self._poll.poll(max(timeout, 0.0) * 1000):
            return b""
        return self._reader.recv(4096)

    def close(self) -> None:
        """Gives the signals back to the system."""
        signal.set_wakeup_fd(-1)
        for number in _HANDLED:
            signal.signal(number, signal.SIG_DFL)
        self._reader.close()
        self._writer.close()


@dataclass(slots=True)
class _Worker:
    """A slot and the process in it; `pid` is 0 while there is none."""

    slot: int
    sockets: Sequence[socket.socket]
    region: Region
    pid: int = 0
    started: float = 0.0
    start_at: float = 0.0
    failures: int = 0  # early deaths in a row
    hung: bool = False

    @property
    def ready(self) -> bool:
        return self.region.heartbeat > 0

    def silent_for(self, now: float) -> float:
        return now - max(self.region.heartbeat, self.started)

    def signal(self, number: signal.Signals) -> None:
        # Never a stranger: the number stays taken until this process has asked how the child ended.
        if self.pid:
            os.kill(self.pid, number)


class _Parent:
    def __init__(
        self,
        settings: Settings,
        reload: Reload,
        serve: Serve,
        log: EventLog,
        slots: Sequence[Sequence[socket.socket]],
        shared: Shared,
    ) -> None:
        self._settings = settings
        self._reload_settings = reload
        self._serve = serve
        self._log = log
        self._shared = shared
        regions = shared.regions
        self._metrics = Metrics(Registry(regions[-1], regions))
        self._workers = [
            _Worker(slot, sockets, regions[slot]) for slot, sockets in enumerate(slots)
        ]
        self._served = False
        self._exit_code = 0
        self._interrupts = 0
        self._stop_at: float | None = None  # when draining: the end of patience
        self._watching_since = 0.0
        self._looked = 0.0
        self._signals = _Signals()

    def run(self) -> int:
        host, port = self._workers[0].sockets[0].getsockname()[:2]
        self._log.info(
            "gateway_started", pid=os.getpid(), workers=len(self._workers), host=host, port=port
        )
        gc.collect()
        gc.freeze()  # the workers' collectors leave alone, and so share, what exists now
        self._looked = self._watching_since = time.monotonic()
        try:
            while self._stop_at is None or any(worker.pid for worker in self._workers):
                self._start_due()
                for number in self._signals.wait(self._until_next_look()):
                    self._obey(signal.Signals(number))
                self._bury_dead()
                self._look_at_living()
        finally:
            for worker in self._workers:
                worker.signal(signal.SIGKILL)
            self._signals.close()
            close_all([worker.sockets for worker in self._workers])
        self._log.info("gateway_stopped", exit_code=self._exit_code)
        return self._exit_code

    @property
    def _pace(self) -> float:
        """Seconds between two looks, short enough to keep a short `worker_timeout`."""
        return min(TICK, (self._settings.worker_timeout or 4 * TICK) / 4)

    def _until_next_look(self) -> float:
        now = time.monotonic()
        looks = [self._pace]
        if self._stop_at is not None:
            looks.append(self._stop_at - now)
        else:
            looks.extend(worker.start_at - now for worker in self._workers if not worker.pid)
        return min(looks)

    def _start_due(self) -> None:
        if self._stop_at is not None:
            return
        now = time.monotonic()
        for worker in self._workers:
            if not worker.pid and worker.start_at <= now:
                self._start(worker)

    def _start(self, worker: _Worker) -> None:
        worker.hung = False
        worker.started = time.monotonic()
        worker.region.heartbeat = 0.0
        parent = os.getpid()
        # A signal for the newborn child must not be noted in the parent's socket, which it shares.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        try:
            worker.pid = os.fork()
            if not worker.pid:
                self._live(worker, parent)
        except OSError as error:
            self._put_off(worker)
            self._log.error("worker_not_forked", slot=worker.slot, problem=error.strerror or error)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
        if worker.pid:
            self._log.info("worker_forked", slot=worker.slot, pid=worker.pid)

    def _live(self, worker: _Worker, parent: int) -> NoReturn:
        """The child's whole life. It never returns into the parent's code."""
        code = 1
        try:
            self._signals.close()
            die_with_parent(parent)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
            close_all([other.sockets for other in self._workers if other is not worker])
            code = self._serve(
                self._settings, worker.sockets, self._shared, worker.slot, self._reload_settings
            )
        except BaseException:  # noqa: BLE001 - whatever ends a worker, it must be told and must end
            self._log.error("worker_failed", slot=worker.slot, exception=traceback.format_exc())
        finally:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _put_off(self, worker: _Worker) -> None:
        """At once after the first early death, then later and later."""
        worker.failures += 1
        pause = 0.0
        if worker.failures > 1:
            pause = min(FIRST_BACKOFF * 2 ** min(worker.failures - 2, 32), LONGEST_BACKOFF)
        worker.start_at = time.monotonic() + pause

    def _obey(self, number: signal.Signals) -> None:
        if number == signal.SIGHUP:
            self._reload()
        elif number in (signal.SIGTERM, signal.SIGINT):
            self._interrupts += number == signal.SIGINT
            if self._interrupts > 1:
                self._end_at_once()
            self._drain()

    def _reload(self) -> None:
        if self._stop_at is not None:
            return
        try:
            settings = self._reload_settings()
        except ConfigError as refused:
            for problem in refused.problems:
                self._log.error("reload_refused", problem=str(problem))
            self._metrics.reloads.child("refused").inc()
            return
        except Exception:  # noqa: BLE001 - a running gateway outlives whatever reading files can raise
            self._log.error("reload_failed", exception=traceback.format_exc())
            self._metrics.reloads.child("failed").inc()
            return
        fixed = [
            name
            for name in ("host", "port", "workers")
            if getattr(settings, name) != getattr(self._settings, name)
        ]
        if fixed:
            self._log.warning("restart_needed", settings=fixed, problem="changed only by a restart")
        self._settings = settings
        self._log.set_level(settings.log_level)
        for worker in self._workers:
            # One that has not begun has the old settings and no handler: its successor has the new.
            worker.signal(signal.SIGHUP if worker.ready else signal.SIGKILL)
        self._metrics.reloads.child("done").inc()
        self._log.info("reload_accepted")

    def _drain(self) -> None:
        if self._stop_at is not None:
            return
        patience = self._settings.drain_delay + self._settings.drain_timeout + KILL_GRACE
        self._stop_at = time.monotonic() + patience
        self._log.info("gateway_draining", seconds=patience)
        # Each port closes when its worker, which holds it too, says so.
        close_all([worker.sockets for worker in self._workers])
        for worker in self._workers:
            worker.signal(signal.SIGTERM)

    def _end_at_once(self) -> None:
        self._exit_code = _EXIT_INTERRUPTED
        for worker in self._workers:
            worker.signal(signal.SIGKILL)

    def _bury_dead(self) -> None:
        """All children, also those that were adopted: the parent may be a container's first."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                for worker in self._workers:
                    if worker.pid == ended[0]:
                        self._ended(worker, os.waitstatus_to_exitcode(ended[1]))

    def _ended(self, worker: _Worker, code: int) -> None:
        """`code` is negative for a signal."""
        now = time.monotonic()
        stopping = self._stop_at is not None
        tell = self._log.info if stopping and code == 0 else self._log.warning
        tell("worker_exited", slot=worker.slot, pid=worker.pid, code=code, hung=worker.hung)
        worker.pid = 0
        worker.region.clear_gauges()  # its connections are gone, also while the slot is empty
        if stopping:
            return
        self._metrics.worker_exits.child("hung" if worker.hung else "died").inc()
        self._served |= worker.ready
        if now - worker.started < YOUNG:
            self._put_off(worker)
        else:
            worker.failures, worker.start_at = 0, now
        if not self._served and all(one.failures and not one.ready for one in self._workers):
            self._log.error("gateway_not_started", problem="no worker could start")
            self._exit_code = 1
            self._drain()

    def _look_at_living(self) -> None:
        now = time.monotonic()
        if now - self._looked > 2 * self._pace:
            # This process slept, perhaps with the whole machine: the workers get their time anew.
            self._watching_since = now
        self._looked = now
        if self._stop_at is not None:
            if now >= self._stop_at:
                self._log.error("drain_overrun", problem="killing the workers that still run")
                self._stop_at = now + TICK
                for worker in self._workers:
                    worker.signal(signal.SIGKILL)
            return
        limit = self._settings.worker_timeout
        for worker in self._workers:
            self._served |= worker.ready
            silence = min(worker.silent_for(now), now - self._watching_since)
            if limit and worker.pid and not worker.hung and silence > limit:
                worker.hung = True
                self._log.error(
                    "worker_hung", slot=worker.slot, pid=worker.pid, seconds=round(silence, 1)
                )
                worker.signal(signal.SIGKILL)
