"""What errors look like in the document: one schema, and a response for each status."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from gateway.config.auth import Way
from gateway.errors import GatewayError

Document = dict[str, Any]

SCHEMA: Final = {"$ref": "#/components/schemas/Error"}
ANY: Final = {"$ref": "#/components/responses/Error"}
REQUEST_ID: Final = {"$ref": "#/components/headers/RequestId"}
HEADERS: Final[Mapping[str, Document]] = {
    "RequestId": {
        "description": "Names the request in logs: what the client sent, or one made up.",
        "schema": {"type": "string"},
    },
    "RetryAfter": {
        "description": "Seconds until it is worth asking again.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "RateLimit": {
        "description": "How much is left (`r`), and for how long that has to do (`t`, seconds).",
        "schema": {"type": "string"},
        "example": '"default";r=0;t=12',
    },
    "Challenge": {
        "description": "What has to be brought (RFC 9110, 11.6.1).",
        "schema": {"type": "string"},
    },
}
MORE: Final[Mapping[int, Mapping[str, str]]] = {  # headers by status
    401: {"WWW-Authenticate": "Challenge"},
    429: {"Retry-After": "RetryAfter", "RateLimit": "RateLimit"},
}
BEARER: Final = "bearer"
KEY: Final = "X-API-Key"
SCHEMES: Final[Mapping[str, Document]] = {
    KEY: {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "An API key: `gwk_…`.",
    },
    BEARER: {
        "type": "http",
        "scheme": "bearer",
        "description": "A token: the one that this gateway was given, or a signed one (JWT).",
    },
}
WAYS: Final[Mapping[Way, tuple[str, ...]]] = {
    "none": (),
    "token": (BEARER,),
    "api_key": (KEY,),
    "jwt": (BEARER,),
    "any": (KEY, BEARER),
}


def security(way: Way, scopes: Iterable[str] = ()) -> list[Document]:
    """What clients have to bring: one of these."""
    return [{scheme: sorted(scopes)} for scheme in WAYS[way]]


def every(kind: type[GatewayError] = GatewayError) -> Iterator[type[GatewayError]]:
    """Every kind of error."""
    yield kind
    for each in kind.__subclasses__():
        yield from every(each)


def responses() -> dict[str, Document]:
    """A response for each status that an error can have, and one for them all."""
    said: dict[int, dict[str, None]] = {}
    for kind in every():
        said.setdefault(kind.status, {})[f"`{kind.code}`: {kind.message}."] = None
    made = {f"Error{status}": _response(status, " ".join(said[status])) for status in sorted(said)}
    return {**made, "Error": _response(0, "Any other error, of the same form.")}


def _response(status: int, description: str) -> Document:
    named = {
        name: {"$ref": f"#/components/headers/{to}"} for name, to in MORE.get(status, {}).items()
    }
    return {
        "description": description,
        "headers": {"X-Request-ID": REQUEST_ID, **named},
        "content": {"application/json": {"schema": SCHEMA}},
    }


def of(statuses: Iterable[int]) -> dict[str, Document]:
    """Those of an operation, by status."""
    return {
        str(status): {"$ref": f"#/components/responses/Error{status}"}
        for status in sorted(set(statuses))
    }


def guarded(*, way: Way, scopes: Iterable[str], limited: bool, listed: bool = False) -> set[int]:
    """What follows from what a client has to bring, and how often it may come."""
    found = set()
    if way != "none":
        found.add(401)
    if listed or any(scopes):
        found.add(403)
    if limited:
        found.add(429)
    return found
