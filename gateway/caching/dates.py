"""HTTP dates (RFC 9110, 5.6.7): the one form that is sent and the two old ones, read leniently."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from time import time
from typing import Final

MONTHS: Final = {
    name: number
    for number, name in enumerate(
        b"jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1
    )
}
_CLOCK: Final = rb"(?P<h>\d\d):(?P<m>\d\d):(?P<s>\d\d)"
FORMS: Final = (
    re.compile(
        rb"[a-z]{3}, (?P<day>\d\d) (?P<month>[a-z]{3}) (?P<year>\d{4}) " + _CLOCK + rb" gmt"
    ),
    re.compile(
        rb"[a-z]{6,9}, (?P<day>\d\d)-(?P<month>[a-z]{3})-(?P<year>\d\d) " + _CLOCK + rb" gmt"
    ),
    re.compile(rb"[a-z]{3} (?P<month>[a-z]{3}) (?P<day>[ \d]\d) " + _CLOCK + rb" (?P<year>\d{4})"),
)
FUTURE: Final = 50  # years: a two-digit year that would lie further ahead is a century older


@lru_cache(4096)
def parse(value: bytes) -> int | None:
    """Unix seconds, or None for what is no date. Letters in any case: senders err there."""
    lowered = value.lower()
    for form in FORMS:
        match = form.fullmatch(lowered)
        if match is not None:
            return _seconds(match)
    return None


def _seconds(match: re.Match[bytes]) -> int | None:
    year, month = int(match["year"]), MONTHS.get(match["month"])
    if len(match["year"]) == 2:
        this = datetime.fromtimestamp(time(), UTC).year
        year += this - this % 100
        if year > this + FUTURE:
            year -= 100
    second = min(int(match["s"]), 59)  # a leap second is the one before
    try:
        moment = datetime(
            year, month or 0, int(match["day"]), int(match["h"]), int(match["m"]), tzinfo=UTC
        )
    except ValueError:
        return None
    return int(moment.timestamp()) + second
