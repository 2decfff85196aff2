"""The realtime protocol as an AsyncAPI 3.0 document, made from its messages and its settings.

The gateway is the application that it tells of: it receives what clients say and sends the rest
(AsyncAPI 3.0.0, Operation Object). Schemas are of draft 07, as a plain `payload` has to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from gateway.config.realtime import Realtime
from gateway.realtime.messages import FROM_CLIENTS, TO_CLIENTS, Message

Document = dict[str, Any]

CLOSES: Final[Mapping[int, str]] = {
    1000: "no subscription and no message for the idle timeout, or the client's own wish",
    1001: "the gateway goes away: connect again",
    1002: "a frame broke the protocol (RFC 6455): not masked, or malformed",
    1003: "a binary message",
    1007: "a text message that is not UTF-8",
    1008: "too many messages, after an error had said so; or credentials that hold no more",
    1009: "a message that is longer than the limit",
}
STREAMED: Final = ("welcome", "prediction_update", "warning", "refetch")
TOKEN: Final = {"type": "string", "description": "a JWT, where no header can be set"}

SCHEMES: Final[Mapping[str, Document]] = {
    "apiKey": {"type": "httpApiKey", "name": "X-API-Key", "in": "header"},
    "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer"},
    "query": {
        "type": "httpApiKey",
        "name": "token",
        "in": "query",
        "description": "a JWT, for a browser, which can set no header",
    },
}
WAYS: Final[Mapping[str, tuple[str, ...]]] = {
    "none": (),
    "token": ("bearer",),
    "api_key": ("apiKey",),
    "jwt": ("bearer", "query"),
    "any": ("apiKey", "bearer", "query"),
}


class Schemas(GenerateJsonSchema):
    """Without what says nothing: a title that is the name again, a null that cannot be sent."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


class AsyncApi:
    """The document of these settings; where it is asked for is filled in by the request."""

    def __init__(self, settings: Realtime, version: str) -> None:
        self._ways = WAYS[settings.way]
        self._document = _document(settings, version, self._ways)

    def at(self, host: str, secure: bool) -> Document:
        """The document for who asked `host`, over TLS or not."""
        headers = [way for way in self._ways if way != "query"]
        return self._document | {
            "servers": {
                "websocket": _server(host, "ws" + "s" * secure, self._ways),
                "http": _server(host, "http" + "s" * secure, headers),
            }
        }


def _server(host: str, protocol: str, ways: Sequence[str]) -> Document:
    """One way in of those is enough; without any, there is nothing to show."""
    server: Document = {"host": host, "protocol": protocol}
    if ways:
        server["security"] = [_ref("components", "securitySchemes", way) for way in ways]
    return server


def _document(settings: Realtime, version: str, ways: Sequence[str]) -> Document:
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Live predictions",
            "version": version,
            "description": "Updates of predictions by symbol, over a WebSocket or as Server-Sent "
            "Events. Both tell the same, and an offset of one is good for the other.",
        },
        "defaultContentType": "application/json",
        "servers": {},
        "channels": {
            "predictions": _websocket(settings, "query" in ways),
            "stream": _stream(settings),
        },
        "operations": _operations("query" in ways),
        "components": {
            "messages": {name_of(m): _message(m) for m in (*FROM_CLIENTS, *TO_CLIENTS)},
            "schemas": _schemas(settings),
            "securitySchemes": {way: SCHEMES[way] for way in ways},
        },
    }


def _websocket(settings: Realtime, with_token: bool) -> Document:
    binding: Document = {"method": "GET", "bindingVersion": "0.1.0"}
    if with_token:
        binding["query"] = {"type": "object", "properties": {"token": TOKEN}}
    return {
        "address": settings.path,
        "title": "WebSocket",
        "description": "JSON in text frames.",
        "servers": [_ref("servers", "websocket")],
        "messages": _named(map(name_of, (*FROM_CLIENTS, *TO_CLIENTS))),
        "bindings": {"ws": binding},
        "x-close-codes": {str(code): why for code, why in CLOSES.items()},
        "x-limits": {
            "max_message_bytes": settings.max_message,
            "max_symbols": settings.max_symbols,
            "messages": str(settings.message_rate),
            "updates": str(settings.update_rate or "unlimited"),
            "buffered_updates": settings.buffer,
            "buffered_bytes": settings.buffer_bytes,
            "ping_interval_seconds": settings.ping_interval,
            "idle_timeout_seconds": settings.idle_timeout,
            "updates_kept_for_recovery": settings.history,
        },
    }


def _stream(settings: Realtime) -> Document:
    return {
        "address": settings.stream,
        "title": "Server-Sent Events",
        "description": "Each message is an event: its type is `event`, its JSON the `data`. An "
        "update's offset is `id`, which comes back as Last-Event-ID. Now and then there is a "
        "comment.",
        "servers": [_ref("servers", "http")],
        "messages": _named(STREAMED),
    }


def _operations(with_token: bool) -> Document:
    known = {
        "symbols": {"type": "string", "description": "with commas between them"},
        "since": {"type": "string", "description": "an offset, for who comes back"},
    }
    if with_token:
        known["token"] = TOKEN
    query = {"type": "object", "properties": known, "required": ["symbols"]}
    return {
        "subscribe": _request("subscribe", "subscribed", "refetch", "error"),
        "unsubscribe": _request("unsubscribe", "unsubscribed", "error"),
        "ping": _request("ping", "pong", "error"),
        "welcome": _sending("predictions", "welcome"),
        "update": _sending("predictions", "prediction_update", "warning", "refetch"),
        "stream": {
            **_sending("stream", *STREAMED),
            "bindings": {"http": {"method": "GET", "query": query, "bindingVersion": "0.3.0"}},
        },
    }


def _request(asks: str, *answers: str) -> Document:
    channel = _ref("channels", "predictions")
    return {
        "action": "receive",
        "channel": channel,
        "messages": _listed("predictions", (asks,)),
        "reply": {"channel": channel, "messages": _listed("predictions", answers)},
    }


def _sending(channel: str, *names: str) -> Document:
    return {
        "action": "send",
        "channel": _ref("channels", channel),
        "messages": _listed(channel, names),
    }


def _message(model: type[Message]) -> Document:
    name = name_of(model)
    summary, _, description = (model.__doc__ or "").partition("\n\n")
    told = {"description": description.strip()} if description else {}
    return {
        "name": name,
        "summary": " ".join(summary.split()),
        **told,
        "payload": _ref("components", "schemas", model.__name__),
        "examples": [{"summary": shows, "payload": dict(it)} for shows, it in model.examples],
    }


def name_of(model: type[Message]) -> str:
    """The value of its `type` or `action`."""
    kind = model.model_fields.get("action") or model.model_fields["type"]
    name: str = kind.annotation.__args__[0]  # type: ignore[union-attr]
    return name


def _schemas(settings: Realtime) -> Document:
    models = [(model, "validation") for model in (*FROM_CLIENTS, *TO_CLIENTS)]
    made: Document = models_json_schema(
        models,  # type: ignore[arg-type]
        ref_template="#/components/schemas/{model}",
        schema_generator=Schemas,
    )[1]["$defs"]
    for model in FROM_CLIENTS:
        symbols = made[model.__name__]["properties"].get("symbols")
        if symbols is not None:
            symbols["maxItems"] = settings.max_symbols
    if settings.wildcard:
        for schema in made.values():
            symbols = schema["properties"].get("symbols")
            if symbols is not None:
                symbols["items"]["pattern"] = r"^([A-Z]{1,5}|\*)$"
    return made


def _named(names: Iterable[str]) -> Document:
    return {name: _ref("components", "messages", name) for name in names}


def _listed(channel: str, names: Iterable[str]) -> list[Document]:
    return [_ref("channels", channel, "messages", name) for name in names]


def _ref(*names: str) -> Document:
    return {"$ref": "#/" + "/".join(names)}
