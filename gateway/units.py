"""What people write for lengths of time, sizes, rates and networks, as typed values.

Every function raises ValueError with what it expected. It never repeats what it was given, because
that may have come from a variable that holds a secret.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from ipaddress import IPv4Network, IPv6Network, ip_network

Network = IPv4Network | IPv6Network

LONGEST_DURATION = 100 * 365 * 86400.0  # s; beyond it, somebody mistook the unit
LARGEST_SIZE = 2**50  # bytes
LARGEST_COUNT = 2**31 - 1
LARGEST_RATE = 10**9  # a second; beyond it, the time between two is lost in a float's rounding

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# One letter counts in 1024 as nginx and HAProxy do; with a B behind it the letter is SI's.
_BYTES = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", start=1):
    _BYTES |= {_letter: 1024**_power, f"{_letter}ib": 1024**_power, f"{_letter}b": 1000**_power}
_PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
_PERIOD_NAMES = _PERIODS | {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|[smhd])?", re.IGNORECASE)
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?i?b|[kmgt])?", re.IGNORECASE)
_RATE = re.compile(r"([0-9]+)\s*/\s*([a-z]+)", re.IGNORECASE)
_COUNT = re.compile(r"[+-]?[0-9]+")

_DURATION_EXPECTED = "expected a length of time: seconds, or 250ms, 10s, 2m, 1h, 90d"
_SIZE_EXPECTED = "expected a size: bytes, or 64k, 512KiB, 8MiB"
_RATE_EXPECTED = "expected a rate such as 10/second, 60/minute, 100/hour, 1000/day"
_MOMENT_EXPECTED = "expected a date such as 2026-01-31, or 2026-01-31T12:00:00Z"
_NETWORK_EXPECTED = "expected an address or a network such as 192.0.2.7, 10.0.0.0/8, fd00::/8"


@dataclass(frozen=True, slots=True)
class Rate:
    """So many (`count`, at least 1) in so long (`period`, in seconds, at least 1 µs).

    After a quiet time `burst` may come at once: as many as `count` if that is left out.
    """

    count: int
    period: float
    burst: int = 0
    nanoseconds: int = field(init=False, repr=False, compare=False)  # the period, exact

    def __post_init__(self) -> None:
        object.__setattr__(self, "burst", self.burst or self.count)
        object.__setattr__(self, "nanoseconds", round(self.period * 10**6) * 1000)

    def __str__(self) -> str:
        for name, seconds in _PERIODS.items():
            if seconds == self.period:
                return f"{self.count}/{name}"
        return f"{self.count}/{self.period:g}s"


def duration(value: object) -> float:
    """Seconds: a number of them, or "250ms", "10s", "2m", "1h", "90d"."""
    seconds = _number(value)
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        seconds = float(match[1]) * _SECONDS[(match[2] or "s").lower()]
    if seconds is None:
        raise ValueError(_DURATION_EXPECTED)
    if seconds < 0:
        raise ValueError(f"{_DURATION_EXPECTED}; not less than 0")
    if seconds > LONGEST_DURATION:
        raise ValueError(f"{_DURATION_EXPECTED}; at most 100 years")
    return seconds


def size(value: object) -> int:
    """Bytes: a number of them, or "64k" (65536), "512KiB", "8MiB", "10MB" (10,000,000)."""
    amount = _number(value)
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        unit = (match[2] or "").lower()
        if unit not in _BYTES:
            raise ValueError(_SIZE_EXPECTED)
        amount = float(match[1]) * _BYTES[unit]
    if amount is None:
        raise ValueError(_SIZE_EXPECTED)
    if not 0 <= amount <= LARGEST_SIZE:
        raise ValueError(f"{_SIZE_EXPECTED}; 0 to 1024TiB")
    if amount != int(amount):
        raise ValueError(f"{_SIZE_EXPECTED}; a whole number of bytes")
    return int(amount)


def count(value: object) -> int:
    """A whole number, as one or in digits; the bounds are the caller's."""
    if isinstance(value, str) and _COUNT.fullmatch(value.strip()):
        digits = value.strip()
        # int() refuses more than 4,300 digits with a message of its own.
        value = int(digits) if len(digits) < 20 else LARGEST_COUNT + 1
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("expected a whole number")
    if abs(value) > LARGEST_COUNT:
        raise ValueError(f"expected a whole number of at most {LARGEST_COUNT}")
    return value


def rate(value: object) -> Rate:
    """So many in so long: "60/minute", "100/hour", "5/s"."""
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or (period := _PERIOD_NAMES.get(match[2].lower())) is None:
        raise ValueError(_RATE_EXPECTED)
    digits = match[1].lstrip("0")
    if not digits:
        raise ValueError(f"{_RATE_EXPECTED}; at least one")
    if len(digits) > 15 or int(digits) / period > LARGEST_RATE:
        raise ValueError(f"{_RATE_EXPECTED}; at most {LARGEST_RATE} a second")
    return Rate(int(digits), period)


def moment(value: object) -> int:
    """Unix seconds: of a date, which begins in UTC, or of a date and a time.

    A time without an offset is UTC. Both come as text from variables, and from YAML as what they
    are.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(_MOMENT_EXPECTED) from None
    if not isinstance(value, date):
        raise ValueError(_MOMENT_EXPECTED)
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    try:
        seconds = int(value.timestamp())
    except OverflowError:
        seconds = -1
    if seconds < 0:
        raise ValueError(f"{_MOMENT_EXPECTED}; not before 1970")
    return seconds


def quota(value: object) -> Rate | None:
    """A rate, or None for "unlimited"."""
    if isinstance(value, str) and value.strip().lower() == "unlimited":
        return None
    try:
        return rate(value)
    except ValueError as error:
        raise ValueError(f"{error}; or unlimited") from None


def network(value: object) -> Network:
    """A network, or a single address as the network that holds it alone."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    if not isinstance(value, str):
        raise ValueError(_NETWORK_EXPECTED)
    try:
        return ip_network(value.strip())
    except ValueError:
        pass
    try:
        wider = ip_network(value.strip(), strict=False)
    except ValueError:
        raise ValueError(_NETWORK_EXPECTED) from None
    raise ValueError(f"has bits set behind its mask: {wider} was probably meant")


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return math.inf
    return None if math.isnan(number) else number
