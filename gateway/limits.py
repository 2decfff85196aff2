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

from gateway.stores import Decision
from gateway.units import Rate

NANOSECONDS = 10**9
MICROSECONDS = 10**6

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
