"""GCRA, the generic cell rate algorithm (ITU-T I.371), exact in integers.

The theory. A sender that keeps exactly to its rate sends once an interval (period / count). For
each key one number is kept: when such a sender would be due next, its theoretical arrival time. A
request moves it on by one interval, and is let in unless it would then be further ahead of now
than `burst` intervals; refused, it moves nothing. So never more than `burst` come at once, and in
any stretch of time never more than `burst` and what the rate gives for it: there are no windows,
and so no edges of windows at which twice as much gets through.

An interval is seldom a whole number of ticks of a clock. Times are therefore counted in ticks
divided by the rate's count, of which an interval has exactly as many as the period has ticks. What
is `ahead` below, how far the arrival time is ahead of the clock, is in that unit: nothing is ever
rounded, but for what clients are told.
"""

from __future__ import annotations

import socket
from functools import lru_cache
from typing import Final

from gateway.stores import Decision
from gateway.units import Rate

NANOSECONDS = 10**9
MICROSECONDS = 10**6

MAPPED: Final = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96 (RFC 4291, 2.5.5.2)

_made = tuple.__new__


def take(ahead: int, rate: Rate, cost: int) -> tuple[int, Decision]:
    """How far a key is ahead after `cost` requests, and what is to be said of them.

    The clock counts nanoseconds. What is further ahead than any request can have brought it (a
    clock was set back, memory was torn) is taken for a key that has nothing left.
    """
    interval = rate.nanoseconds
    most = rate.burst * interval
    if ahead < 0:
        ahead = 0
    elif ahead > most:
        ahead = most
    after = ahead + cost * interval
    if after > most:
        return ahead, decision(False, ahead, rate, cost)
    # What `decision` says of nearly every request, without its call and its conversions.
    left, reset = (most - after) // interval, -(-after // (rate.count * NANOSECONDS))
    return after, _made(Decision, (True, rate.burst, left, reset, 0))


def decision(
    allowed: bool, ahead: int, rate: Rate, cost: int, ticks: int = NANOSECONDS
) -> Decision:
    """What is said of `cost` requests that left a key so far `ahead`.

    `ticks` is how many of the clock's make a second: NANOSECONDS or MICROSECONDS.
    """
    interval = rate.nanoseconds * ticks // NANOSECONDS
    left = rate.burst * interval - ahead
    second = rate.count * ticks
    wait = 0 if allowed else -((left - cost * interval) // second)
    # Past the named tuple's own maker, which is Python: one is made for each request.
    return _made(Decision, (allowed, rate.burst, left // interval, -(-ahead // second), wait))


def network_of(address: bytes) -> bytes:
    """Who is taken for one client: an IPv4 address, or an IPv6 network of 64 bits.

    Whoever has one IPv6 address has such a network of them (RFC 6177). IPv4 written as IPv6
    is IPv4. Nothing, for a Unix socket's client, is somebody, too.
    """
    return _ipv6(address) if b":" in address else address


@lru_cache(4096)
def _ipv6(address: bytes) -> bytes:
    packed = socket.inet_pton(socket.AF_INET6, address.partition(b"%")[0].decode())
    if packed[:12] == MAPPED:
        return socket.inet_ntop(socket.AF_INET, packed[12:]).encode()
    return packed[:8].hex().encode()
