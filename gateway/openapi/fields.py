"""What an operation takes in its path, query, header fields and cookies: found, read, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.openapi import bodies
from gateway.openapi.checks import Check
from gateway.openapi.parameters import (
    SPLITS,
    Decode,
    Split,
    Unreadable,
    comma_list,
    decoded,
    decoded_form,
    delimited,
    listed,
    mapped,
    one,
    single,
    text,
)
from gateway.openapi.words import Flaw

Raw = Mapping[str, list[bytes]]
"""What came, by name, in order, encoded as it was."""

Found = list[bytes] | dict[str, list[bytes]]
"""What came of one parameter: its values, or those of its members."""

DECODERS: Final[Mapping[str, Decode]] = {
    "path": decoded,
    "query": decoded_form,
    "header": text,
    "cookie": text,
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. `key` is its name as `Raw` has it: lower case with hyphens for a field."""

    place: str  # path, query, header or cookie
    name: str
    key: str
    required: bool
    check: Check
    style: str
    explode: bool
    is_json: bool = False
    may_be_empty: bool = False
    deep: bool = field(init=False)
    spread: bool = field(init=False)  # its members stand in the query by themselves
    decode: Decode = field(init=False)
    split: Split = field(init=False)

    def __post_init__(self) -> None:
        exploded = self.place == "query" and self.style == "form" and self.explode
        spread = exploded and self.check.shape.mapped and not self.is_json
        split = comma_list if self.place == "header" else SPLITS[self.style]
        object.__setattr__(self, "deep", self.style == "deepObject")
        object.__setattr__(self, "spread", spread)
        object.__setattr__(self, "decode", DECODERS[self.place])
        object.__setattr__(self, "split", split)

    def flaws(self, raw: Raw) -> list[Flaw]:
        """What is wrong with it in a request."""
        found = self._members(raw) if self.deep or self.spread else raw.get(self.key)
        if not found:
            return [Flaw("", "is missing")] if self.required else []
        if self.may_be_empty and found == [b""]:
            return []
        try:
            value = self._value(found, True)
            if self.check.fits(value):
                return []
            other = self._value(found, False)
        except Unreadable as error:
            return [Flaw("", str(error))]
        if other != value and self.check.fits(other):
            return []
        return self.check.flaws(value, len(value) if isinstance(value, list) else 0)

    def keys(self) -> Sequence[str]:
        """The names that it can have in a query."""
        return tuple(self.check.shape.members) if self.spread else (self.key,)

    def _value(self, found: Found, eager: bool) -> object:
        """`eager`: a number even where text would do. Raises `Unreadable`."""
        shape, decode = self.check.shape, self.decode
        if isinstance(found, dict):
            members = ((name, decode(one(values))) for name, values in found.items())
            return mapped(members, shape, eager)
        if self.is_json:
            return bodies.parsed(decode(one(found)).encode())
        if self.style == "form" and self.explode and shape.takes_list(len(found)):
            return listed(map(decode, found), shape, eager)
        if self.place == "header" and (shape.listed or shape.mapped):
            found = [b",".join(found)]  # RFC 9110, 5.3
        raw = one(found)
        if not (shape.listed or shape.mapped):
            return single(decode(raw), shape, eager)
        return delimited(raw, shape, eager, self.split, decode, self.explode)

    def _members(self, raw: Raw) -> dict[str, list[bytes]]:
        if self.spread:
            return {name: raw[name] for name in self.check.shape.members if name in raw}
        start = self.key + "["
        return {
            name.removeprefix(start).removesuffix("]"): values
            for name, values in raw.items()
            if name.startswith(start) and name.endswith("]")
        }
