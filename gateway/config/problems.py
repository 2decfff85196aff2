"""What is wrong with the settings, where, and what was probably meant.

A message never repeats a value that somebody set, because any value may have come from a variable
that holds a secret. It does repeat keys and names of routes and upstreams.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

Loc = tuple[str | int, ...]

# At 0.6, the library's own, `auth` is taken for `path`.
CLOSE_ENOUGH = 0.77

_PLAIN_KEY = re.compile(r"[\w-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where it was written, under which key, and what it is."""

    file: str
    key: str
    wrong: str

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.wrong}"


class ConfigError(Exception):
    """The settings cannot be used; `problems` says everything that is wrong with them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something wrong with values that are each right by themselves.

    `other` is the place that it clashes with, named behind the message.
    """

    loc: Loc
    wrong: str
    other: Loc | None = None

    def __str__(self) -> str:
        behind = "" if self.other is None else f" {key_path(self.other)}"
        return f"{key_path(self.loc)}: {self.wrong}{behind}"


class FlawError(ValueError):
    """What a check of several values raises: pydantic keeps it whole, the loader takes it apart."""

    def __init__(self, flaws: Iterable[Flaw]) -> None:
        self.flaws = tuple(flaws)
        super().__init__("; ".join(map(str, self.flaws)))


def key_path(loc: Loc) -> str:
    """`("routes", 3, "timeout")` as `routes[3].timeout`; control characters cannot get through."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
            continue
        path += "." if path else ""
        path += part if _PLAIN_KEY.fullmatch(part) else repr(part)
    return path


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant: much the same, or the same letters out of order."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=CLOSE_ENOUGH)
    close += (each for each in names if sorted(each) == sorted(name))
    return close[0] if close else None


def did_you_mean(meant: str | None) -> str:
    """What stands behind a message about something unknown."""
    return f", did you mean {meant}?" if meant else ""
