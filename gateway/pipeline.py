"""The path of a request: named, matched, handed to what answers it; then logged and counted.

Everything that is asked of the gateway passes `handle` once and `finish` once, whatever
becomes of it. Errors become answers in one place, `refuse`, and once an answer has begun there
is only one thing left to do: cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Final

import orjson

from gateway import headers
from gateway.errors import BadRequest, GatewayError, MethodNotAllowed, NotFound, PayloadTooLarge
from gateway.exchange import Exchange, Policy, Response, Route
from gateway.http1.request import ABSOLUTE, is_host, without_userinfo
from gateway.routing import Table
from gateway.telemetry.requests import RouteMetrics
from gateway.waiting import Waiting

NEVER_FORWARDED: Final = frozenset((b"TRACE", b"CONNECT"))
ALLOW_LINE: Final = b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
QUIET: Final = ("client", "store")  # whose errors the log need not tell of one by one
JSON_LINE: Final = b"Content-Type: application/json"

Record = Callable[[Exchange, float], None]
Report = Callable[[str, Exchange, BaseException | None], None]


class Pipeline:
    """One generation of the configuration at work; a reload makes another."""

    def __init__(
        self,
        table: Table,
        *,
        trusted: headers.Networks,
        unrouted: RouteMetrics,
        record: Record | None,
        report: Report,
        unrouted_policies: tuple[Policy, ...] = (),
    ) -> None:
        """`record` writes the access log, `report` everything that went wrong here.

        `unrouted_policies` say what an error carries where no route matched.
        """
        self.table = table
        self._unrouted_policies = unrouted_policies
        self._trusted = trusted
        self._unrouted = unrouted
        self._record = record
        self._report = report

    def handle(self, exchange: Exchange) -> None:
        try:
            headers.identify(exchange)
            if exchange.client.peer.trusted:
                headers.believe(exchange, self._trusted)
            head = exchange.head
            special = exchange.path[:1] != b"/" or head.method in NEVER_FORWARDED
            if special and self._answer_special(exchange):
                return
            route = None
            if head.method == b"OPTIONS":
                route = self._asked_about(exchange)
            if route is None:
                route = self.table.match(exchange.path, exchange.host, head.method)
            exchange.route = route
            self._admit(exchange, route, 0)
        except Exception as error:  # noqa: BLE001 - every error has its answer
            self._fail(exchange, error)

    def _admit(self, exchange: Exchange, route: Route, at: int) -> None:
        """Ask the route's policies, from number `at` on; then have its endpoint answer."""
        for policy in route.policies[at:]:
            at += 1
            verdict = policy.enter(exchange)
            if verdict is None:
                continue
            if isinstance(verdict, Response):
                self._answer(exchange, verdict)
            else:
                Waiting(exchange, verdict, partial(self._go_on, exchange, route, at))
            return
        if route.max_body and exchange.head.length > route.max_body:
            raise PayloadTooLarge
        route.endpoint.handle(exchange)

    def _go_on(
        self, exchange: Exchange, route: Route, at: int, task: asyncio.Task[Response | None]
    ) -> None:
        """A policy knows its verdict now."""
        try:
            response = task.result()
            if response is not None:
                self._answer(exchange, response)
            else:
                self._admit(exchange, route, at)
        except Exception as error:  # noqa: BLE001 - every error has its answer
            self._fail(exchange, error)

    def _answer(self, exchange: Exchange, response: Response) -> None:
        """Send a policy's own answer."""
        lines = (*response.lines, *self._lines(exchange))
        exchange.client.respond(
            Response(response.status, response.body, lines, response.closes or exchange.closes)
        )

    def _fail(self, exchange: Exchange, error: Exception) -> None:
        if isinstance(error, GatewayError):
            self.refuse(exchange, error)
            return
        self._report("internal_error", exchange, error)
        self.refuse(exchange, GatewayError(closes=True))

    def _asked_about(self, exchange: Exchange) -> Route | None:
        """The route that a CORS preflight asks about, where a policy answers such (Fetch, 4.8)."""
        asked = exchange.head.values(b"access-control-request-method")
        if len(asked) != 1 or not exchange.head.values(b"origin"):
            return None
        try:
            route = self.table.match(exchange.path, exchange.host, asked[0])
        except (NotFound, MethodNotAllowed):
            return None
        return route if route.preflight else None

    def _answer_special(self, exchange: Exchange) -> bool:
        """What is no path: `*` is answered, an absolute form is turned into one."""
        head = exchange.head
        if head.method in NEVER_FORWARDED:
            raise MethodNotAllowed(fields=(ALLOW_LINE,))
        if exchange.path == b"*" and head.method == b"OPTIONS":
            exchange.client.respond(
                Response(200, lines=(ALLOW_LINE, *self._lines(exchange)), closes=False)
            )
            return True
        match = ABSOLUTE.fullmatch(exchange.path + exchange.query)
        exchange.path = without_userinfo(exchange.path)
        if match is None:
            raise BadRequest("the target is no path", closes=False)
        scheme, authority, rest = match.groups()
        if not authority or not is_host(authority):
            raise BadRequest("the target's authority is malformed", closes=False)
        port = b":443" if scheme.lower() == b"https" else b":80"
        named, meant = ((h or b"").lower().removesuffix(port) for h in (head.host, authority))
        if head.host is not None and named != meant:
            raise BadRequest("the target and Host name different hosts", closes=False)
        exchange.host = authority
        path, mark, query = (rest or b"/").partition(b"?")
        exchange.path, exchange.query = path or b"/", mark + query
        return False

    def refuse(self, exchange: Exchange, error: GatewayError) -> None:
        """Answer with an error of our own, or cut when an answer has begun already."""
        exchange.error = exchange.error or error.code
        if error.blame not in QUIET:
            self._report(error.code, exchange, None)
        if exchange.status:
            exchange.client.cut()
            return
        if not exchange.request_id:
            headers.identify(exchange)
        if exchange.route is None:
            for policy in self._unrouted_policies:
                policy.enter(exchange)
        body = error_body(exchange, error)
        lines = (JSON_LINE, *error.fields, *self._lines(exchange))
        exchange.client.respond(
            Response(error.status, body, lines, closes=error.closes or exchange.closes)
        )

    @staticmethod
    def _lines(exchange: Exchange) -> tuple[bytes, ...]:
        name = b"X-Request-ID: " + exchange.request_id
        return *exchange.lines, name, headers.date_line(), headers.SERVER_LINE

    def finish(self, exchange: Exchange) -> None:
        """The exchange is over: count it and write its line."""
        seconds = monotonic() - exchange.started
        route = exchange.route
        metrics = self._unrouted if route is None else route.metrics
        metrics.finished(exchange.head.method, exchange.status, seconds)
        if self._record is not None:
            self._record(exchange, seconds)


def error_body(exchange: Exchange, error: GatewayError) -> bytes:
    """The one form that an error of our own has."""
    fields: dict[str, object] = {
        "error": error.code,
        "message": error.message,
        "path": exchange.path.decode("ascii", "replace"),
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "status_code": error.status,
        "request_id": exchange.request_id.decode(),
    }
    if error.details:
        fields["details"] = error.details
    return orjson.dumps(fields)
