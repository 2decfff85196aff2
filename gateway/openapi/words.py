"""What is wrong with a value, in words that repeat none.

A value may be a secret, so a message holds what the schema says, never what the client sent. Only
names of members are repeated, for without them nobody would find the place; they are cut short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import orjson

from gateway.openapi.document import escape

LONGEST_NAME: Final = 64  # characters of a name that the client chose
LONGEST_PATH: Final = 256
LONGEST_WORDS: Final = 160  # characters of what a schema says
NAMES: Final = 3  # unknown members that are named


class Flaw(NamedTuple):
    """What is wrong with a value: where in it, as a JSON pointer, and what it is."""

    path: str
    message: str


def short(text: str, longest: int = LONGEST_NAME) -> str:
    """A text that is no longer than that, and can be written as UTF-8."""
    text = text.encode(errors="replace").decode()
    return text if len(text) <= longest else text[: longest - 1] + "…"


def path_to(keys: Iterable[object]) -> str:
    """A JSON pointer (RFC 6901) to what these keys lead to, cut short."""
    return short("".join("/" + escape(short(str(key))) for key in keys), LONGEST_PATH)


def told(error: Any) -> Flaw:
    """What a schema's validator found (`jsonschema_rs.ValidationError`)."""
    return Flaw(path_to(error.instance_path), phrase(error.kind))


def phrase(kind: Any) -> str:
    """`kind` is a `jsonschema_rs.ValidationErrorKind`."""
    words = PHRASES.get(type(kind).__name__)
    return "does not fit" if words is None else short(words(kind), LONGEST_WORDS)


def _json(value: object) -> str:
    return orjson.dumps(value, default=str).decode()


def _types(names: Iterable[str]) -> str:
    return "expected " + " or ".join(sorted(names, key=lambda name: name == "null"))


def _unknown(kind: Any) -> str:
    names = [str(name) for name in kind.unexpected]
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return "holds what is not described: " + ", ".join(map(short, names[:NAMES])) + more


def _forms(kind: Any) -> str:
    """None of several forms fits; where they are plain types, these are told."""
    types: list[str] = []
    for errors in kind.context:
        if len(errors) != 1 or type(errors[0].kind).__name__ != "Type":
            return "has none of the forms that are described"
        types += errors[0].kind.types
    return _types(dict.fromkeys(types))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


PHRASES: Final[Mapping[str, Callable[[Any], str]]] = {
    "Type": lambda kind: _types(kind.types),
    "Required": lambda kind: f"{short(kind.property)} is missing",
    "AdditionalProperties": _unknown,
    "UnevaluatedProperties": _unknown,
    "Enum": lambda kind: "expected one of " + ", ".join(map(_json, kind.options)),
    "Constant": lambda kind: f"expected {_json(kind.expected_value)}",
    "Minimum": lambda kind: f"has to be at least {kind.limit}",
    "Maximum": lambda kind: f"has to be at most {kind.limit}",
    "ExclusiveMinimum": lambda kind: f"has to be more than {kind.limit}",
    "ExclusiveMaximum": lambda kind: f"has to be less than {kind.limit}",
    "MultipleOf": lambda kind: f"has to be a multiple of {kind.multiple_of}",
    "MinLength": lambda kind: f"needs at least {_counted(kind.limit, 'character')}",
    "MaxLength": lambda kind: f"may have at most {_counted(kind.limit, 'character')}",
    "MinItems": lambda kind: f"needs at least {_counted(kind.limit, 'item')}",
    "MaxItems": lambda kind: f"may have at most {_counted(kind.limit, 'item')}",
    "MinProperties": lambda kind: f"needs at least {_counted(kind.limit, 'member')}",
    "MaxProperties": lambda kind: f"may have at most {_counted(kind.limit, 'member')}",
    "Pattern": lambda kind: f"does not match {kind.pattern}",
    "Format": lambda kind: f"is no {kind.format}",
    "UniqueItems": lambda kind: "holds the same item twice",
    "Contains": lambda kind: "holds too few or too many items of a kind",
    "PropertyNames": lambda kind: "has a member whose name may not be",
    "AdditionalItems": lambda kind: f"may have at most {_counted(kind.limit, 'item')}",
    "UnevaluatedItems": lambda kind: "has more items than are described",
    "FalseSchema": lambda kind: "may not be here",
    "Not": lambda kind: "is what it must not be",
    "AnyOf": _forms,
    "OneOfNotValid": _forms,
    "OneOfMultipleValid": lambda kind: "has more than one of the forms of which it needs one",
    "BacktrackLimitExceeded": lambda kind: "takes too long to be compared with a pattern",
    "RegexEngineFailure": lambda kind: "takes too long to be compared with a pattern",
}
