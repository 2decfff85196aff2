"""A request's body as a model: the same reading, and the same complaints, for every endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.errors import BadRequest, PayloadTooLarge, ValidationFailed

LONGEST: Final = 65536  # bytes, where an endpoint names no other limit

Model = TypeVar("Model", bound=BaseModel)


class Asked(BaseModel):
    """What the models of all bodies have in common."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        hide_input_in_errors=True,
        defer_build=True,  # 14 ms of each start, and seldom used
    )


async def read(request: web.Request, model: type[Model], limit: int = LONGEST) -> Model:
    """The request's JSON object, of `limit` bytes at most, as `model` takes it.

    Raises `PayloadTooLarge`, `BadRequest` for what is no JSON object, `ValidationFailed` for one
    that is not what is asked for.
    """
    return parsed(await received(request, limit), model)


async def received(request: web.Request, limit: int = LONGEST) -> bytes:
    """The request's body. Raises `PayloadTooLarge`."""
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > limit:
            raise PayloadTooLarge
    return bytes(body)


def parsed(body: bytes, model: type[Model]) -> Model:
    """A JSON object as a model; a text stands for a date, a UUID or an exact number.

    Raises `BadRequest`, `ValidationFailed`.
    """
    try:
        table = orjson.loads(body)  # pydantic's own parser takes NaN, which is no JSON
    except orjson.JSONDecodeError:
        table = None
    if not isinstance(table, dict):
        raise BadRequest("the body is not a JSON object", closes=False)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        flaws = error.errors(include_url=False, include_input=False)
    if flaws[0]["type"] == "json_invalid":  # deeper than pydantic goes
        raise BadRequest("the body is nested too deep", closes=False)
    raise ValidationFailed(
        details=[flaw(each["loc"], each["msg"].removeprefix("Value error, ")) for each in flaws]
    )


def invalid(message: str, *loc: str | int, place: str = "body") -> ValidationFailed:
    """One flaw, which only the endpoint could find."""
    return ValidationFailed(details=[flaw(loc, message, place)])


def flaw(loc: Sequence[str | int], message: str, place: str = "body") -> Mapping[str, object]:
    """What is wrong, where: one of an error's details.

    In the body, `loc` is the way there (a JSON pointer, RFC 6901); elsewhere it is one name.
    """
    if place != "body":
        return {"in": place, "name": str(loc[0]), "path": "", "message": message}
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in loc)
    path = "".join(f"/{step}" for step in steps)
    return {"in": place, "name": "", "path": path, "message": message}
