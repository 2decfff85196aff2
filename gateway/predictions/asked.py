"""What a client asks for: symbols, and whether with features."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qs

from gateway.errors import BadRequest

MOST: Final = 100  # symbols in a request
MOST_FIELDS: Final = 200  # in a query

# ASCII before it is put in upper case: other letters become ASCII by that.
_SYMBOL: Final = re.compile(r"[A-Za-z]{1,5}")
_WORDS: Final = {"true": True, "false": False}


def read_symbol(text: str) -> str:
    """In upper case. Raises `BadRequest`."""
    if _SYMBOL.fullmatch(text) is None:
        raise BadRequest("a symbol is one to five letters", closes=False)
    return text.upper()


def read_query(query: bytes) -> dict[str, list[str]]:
    """A query with its question mark, or none. Raises `BadRequest`."""
    if len(query) < 2:
        return {}
    try:
        text = query[1:].decode("ascii")
        return parse_qs(text, keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError:
        raise BadRequest("the query cannot be read", closes=False) from None


def read_symbols(query: dict[str, list[str]]) -> tuple[str, ...]:
    """Those of `symbols=A,B`, each once, in the order in which they are asked for.

    Raises `BadRequest` for none of them, more than `MOST`, and what is no symbol.
    """
    named = [one for value in query.get("symbols", ()) for one in value.split(",")]
    if not named:
        raise BadRequest("symbols are missing: ?symbols=A,B", closes=False)
    if len(named) > MOST:
        raise BadRequest(f"at most {MOST} symbols are told at once", closes=False)
    return tuple(dict.fromkeys(read_symbol(one.strip()) for one in named))


def wants_features(query: dict[str, list[str]]) -> bool:
    """Whether `include_features` says so. Raises `BadRequest` for another word."""
    values = query.get("include_features")
    if values is None:
        return False
    wanted = _WORDS.get(values[0].lower()) if len(values) == 1 else None
    if wanted is None:
        raise BadRequest("include_features is true or false", closes=False)
    return wanted
