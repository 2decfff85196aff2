"""Requests have to be what an OpenAPI document says; those that are not never reach the service.

The document describes the service, so the path that is looked for in it is the one that goes
upstream: after `strip_prefix` and `rewrite`. It is looked for twice where an upstream could read
it in two ways, as it stands and as it is when decoded and resolved, and has to be the same.

A request is decided at once, unless there is a body with a schema: then its head is decided first,
which saves an upload that would be refused anyway, and the body is read whole before anything goes
up. What goes up is what came, to the byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final

from gateway.errors import MethodNotAllowed, NotFound, PayloadTooLarge, ValidationFailed
from gateway.exchange import Exchange
from gateway.http1.fields import name_of
from gateway.openapi.bodies import Media
from gateway.openapi.operations import Api, Brought, Finding, Item, Operation, by_field
from gateway.routing import SUSPICIOUS, resolve

OFFLOAD: Final = 65536  # bytes of a body: 2 ms; more is checked on a thread

AMBIGUOUS: Final = Finding("path", "", "", "means another path once it is decoded and resolved")


class Validation:
    """A route's document at work."""

    def __init__(
        self,
        api: Api,
        *,
        sent: Callable[[bytes], bytes] | None,
        refuses_unlisted: bool,
        body_limit: int,
    ) -> None:
        """`sent` gives the path that goes upstream, if not the same; `body_limit` is in bytes."""
        self._match = api.match
        self._sent = sent
        self._refuses_unlisted = refuses_unlisted
        self._body_limit = body_limit

    def enter(self, exchange: Exchange) -> Coroutine[Any, Any, None] | None:
        """Raises `ValidationFailed`, `NotFound`, `MethodNotAllowed` or `PayloadTooLarge`."""
        path = exchange.path
        found = self._find(path if self._sent is None else self._sent(path))
        if found is None:
            if self._refuses_unlisted:
                raise NotFound("this path is not described")
            return None
        item, values = found
        head = exchange.head
        operation = item.operations.get(head.method)
        if operation is None:
            raise MethodNotAllowed(fields=(item.allow,))
        has_body = head.length != 0
        fields = by_field(going_up(exchange)) if operation.looks_at_fields(has_body) else {}
        brought = Brought(exchange.query[1:], fields, has_body)
        refuse(operation.findings(values, brought))
        media = operation.reads(brought)
        if media is None:
            return None
        if head.length > self._body_limit:
            raise PayloadTooLarge
        return self._read(exchange, operation, media)

    def _find(self, path: bytes) -> tuple[Item, Sequence[bytes]] | None:
        found = self._match(path)
        if SUSPICIOUS.search(path) is not None:
            meant = self._match(resolve(path))
            if (meant and meant[0]) is not (found and found[0]):
                refuse([AMBIGUOUS])
        return found

    async def _read(self, exchange: Exchange, operation: Operation, media: Media) -> None:
        assert exchange.waiting is not None
        data = await exchange.waiting.body(self._body_limit)
        if len(data) <= OFFLOAD:
            refuse(operation.body(media, data))
            return
        loop = asyncio.get_running_loop()
        refuse(await loop.run_in_executor(None, operation.body, media, data))


def sent_by(cut: int, rewrite: bytes) -> Callable[[bytes], bytes]:
    """What becomes of a path whose first `cut` bytes give way to `rewrite`."""
    return lambda path: rewrite + path[cut:] or b"/"


def going_up(exchange: Exchange) -> Iterable[bytes]:
    """The header lines that the upstream gets: a client can have others dropped on the way.

    `Connection` names fields away, and other policies withhold some and add theirs.
    """
    yield b"X-Request-ID: " + exchange.request_id
    yield b"traceparent: " + exchange.traceparent
    yield from exchange.upward
    withheld = exchange.withheld
    for line in exchange.head.lines:
        if not withheld or name_of(line).replace(b"_", b"-") not in withheld:
            yield line


def refuse(findings: Sequence[Finding]) -> None:
    """Raises `ValidationFailed` if there are any."""
    if findings:
        raise ValidationFailed(details=[finding.told() for finding in findings])
