"""Standard output for log lines: the event loop never waits for whoever reads them.

A line is appended to a buffer. A thread sleeps until the first one comes, gathers what follows for
a tenth of a second or until there is enough for one write, and writes it. While nobody reads, the
buffer grows up to a bound; what comes then is dropped and counted, and a line says so as soon as
writing works again.

Workers share the output. A write of more than PIPE_BUF bytes to a full pipe may be torn
apart by another's (pipe(7)), so batches to pipes, sockets and terminals are written under a
lock on the output itself, which the kernel takes away from a process that dies.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from gateway.telemetry.events import event_line

STDOUT: Final = 1
BATCH_BYTES: Final = 128 * 1024
BATCH_SECONDS: Final = 0.1
LIMIT_BYTES: Final = 8 * 1024 * 1024
_NEVER: Final = 1 << 62


class LineWriter:
    """Lines to a file descriptor, by a thread of its own. Open it after forking."""

    def __init__(
        self,
        fd: int = STDOUT,
        limit: int = LIMIT_BYTES,
        dropped: Callable[[int], None] = lambda lines: None,
    ) -> None:
        """`limit` bounds the bytes that wait; as many again may be in the hands of the thread.

        `dropped` is told the number of lines lost, each time some were, by the thread.
        """
        self._fd = fd
        self._shared = _shared(fd)
        self._limit = limit
        self._dropped = dropped
        # Re-entrant: the garbage collector may log (an unclosed session) in the middle of `write`.
        self._lock = threading.RLock()
        self._buffer = bytearray()
        self._refused = 0  # lines lost since the last batch
        self._unreported = 0  # lines lost since the log last told
        self._notify_at = 0
        self._notified = threading.Event()
        self._closed = False
        # A daemon: a reader that never reads must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Takes one line with its line feed. Never waits for the output, never raises."""
        with self._lock:
            size = len(self._buffer) + len(line)
            if size > self._limit:
                self._refused += 1
                return
            self._buffer += line
        if size >= self._notify_at:
            self._notify_at = _NEVER
            self._notified.set()

    def close(self, timeout: float = 2.0) -> None:
        """Writes what is left, for at most `timeout` seconds. Lines after it are not written."""
        self._closed = True
        self._notified.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        # Few and large writes, each batch gathered anew: whenever this thread waits or writes, it
        # gets the interpreter's lock back by taking it from the event loop, which costs both.
        while not self._closed:
            self._notified.wait()
            self._notified.clear()
            if not self._closed:
                self._notify_at = BATCH_BYTES
                self._notified.wait(BATCH_SECONDS)
                self._notified.clear()
            self._write_waiting()
        self._write_waiting()  # what came during the last write

    def _write_waiting(self) -> None:
        with self._lock:
            batch, self._buffer = self._buffer, bytearray()
            refused, self._refused = self._refused, 0
            self._notify_at = 0
        if refused:
            self._lose(refused)
        if batch:
            self._write_batch(batch)

    def _write_batch(self, batch: bytearray) -> None:
        try:
            write_all(self._fd, batch, self._shared)
        except OSError:  # closed, or the disk is full: the next batch tries again
            self._lose(batch.count(b"\n"))
            return
        if self._unreported:
            with suppress(OSError):
                told = event_line("WARNING", "log_lines_dropped", {"lines": self._unreported})
                write_all(self._fd, told, self._shared)
                self._unreported = 0

    def _lose(self, lines: int) -> None:
        self._unreported += lines
        self._dropped(lines)


def write_all(fd: int, data: bytes | bytearray, shared: bool | None = None) -> None:
    """Writes all of `data` undivided by other gateway processes, however long it takes.

    `shared` is what is known of the output (`_shared`). Raises OSError when it is closed or full.
    """
    with _exclusive(fd, _shared(fd) if shared is None else shared):
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(fd, rest) :]
            except BlockingIOError:  # whoever opened it made it non-blocking
                _writable(fd, None)


def write_now(fd: int, line: bytes, patience: float = 0.2) -> bool:
    """Writes a line without a thread, waiting `patience` seconds at most; False when cut or lost.

    For the parent process, which logs little and must not have threads when it forks.
    """
    deadline = time.monotonic() + patience
    rest = memoryview(line)
    with suppress(OSError):
        shared = _shared(fd)
        if shared and not _lock_within(fd, deadline):
            return False
        try:
            # What poll calls writable takes PIPE_BUF bytes without blocking.
            while rest and _writable(fd, max(deadline - time.monotonic(), 0.0)):
                rest = rest[os.write(fd, rest[: select.PIPE_BUF]) :]
        finally:
            if shared:
                fcntl.lockf(fd, fcntl.LOCK_UN)
    return not rest


def _shared(fd: int) -> bool:
    """Whether long writes by several processes may be torn apart."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError:  # closed: writing will tell
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)


@contextmanager
def _exclusive(fd: int, shared: bool) -> Iterator[None]:
    if not shared:
        yield
        return
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX)
    except OSError:  # a system that locks regular files only: long lines may mix there
        yield
        return
    try:
        yield
    finally:
        fcntl.lockf(fd, fcntl.LOCK_UN)


def _lock_within(fd: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        except OSError:  # as in `_exclusive`
            return True
        else:
            return True


def _writable(fd: int, timeout: float | None) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(None if timeout is None else timeout * 1000))
