"""Mutexes in memory that processes share. The kernel hands one on when who holds it dies (POSIX).

Two calls take 0.6 µs; a lock on a byte range of a file, which the kernel takes back too, takes
1.9 µs, and gives up the interpreter's lock while others wait. For one thread of each process: who
waits keeps the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

BYTES: Final = 64
"""Of one: a cache line. The largest pthread_mutex_t of any Linux has 48."""

_PSHARED: Final = 1  # PTHREAD_PROCESS_SHARED, PTHREAD_MUTEX_ROBUST: pthread.h
_ROBUST: Final = 1

# PyDLL: the interpreter's lock is kept, for what happens under a mutex takes microseconds.
_libc: Final = ctypes.PyDLL(None)
lock: Final = _libc.pthread_mutex_lock
"""Returns EOWNERDEAD to who gets it from the dead, and has to call `restore` then."""

unlock: Final = _libc.pthread_mutex_unlock
restore: Final = _libc.pthread_mutex_consistent

Mutex = ctypes.c_void_p


def make(memory: mmap.mmap, count: int = 1) -> list[Mutex]:
    """Mutexes in the first `count` times `BYTES` of a shared mapping. Call it before forking.

    Raises OSError when the system has none of the kind.
    """
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    mutexes = [Mutex(base + number * BYTES) for number in range(count)]
    attributes = ctypes.create_string_buffer(64)
    for error in (
        _libc.pthread_mutexattr_init(attributes),
        _libc.pthread_mutexattr_setpshared(attributes, _PSHARED),
        _libc.pthread_mutexattr_setrobust(attributes, _ROBUST),
        *(_libc.pthread_mutex_init(mutex, attributes) for mutex in mutexes),
    ):
        if error:
            raise OSError(error, "no mutex that processes can share")
    return mutexes


@contextmanager
def held(mutex: Mutex) -> Iterator[None]:
    if lock(mutex) == errno.EOWNERDEAD:
        restore(mutex)
    try:
        yield
    finally:
        unlock(mutex)
