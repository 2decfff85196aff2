from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast

import orjson
import pytest

from gateway.errors import GatewayError, NotFound, UpstreamClosed, UpstreamTimeout
from gateway.exchange import Exchange, Response, Route
from gateway.pipeline import Pipeline
from gateway.routing import Table
from gateway.units import network
from tests.http1.reading import Nobody, exchange, values


class Counted:
    """A route's meter."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, int]] = []

    def finished(self, method: bytes, status: int, seconds: float) -> None:
        assert seconds >= 0
        self.seen.append((method, status))


class Answering:
    """An endpoint that does as it is told; it answers 200 when it is told nothing."""

    def __init__(self, does: Callable[[Exchange], None] | None = None) -> None:
        self.handled: list[Exchange] = []
        self._does = does or (lambda made: made.client.respond(Response(200)))

    def handle(self, exchange: Exchange) -> None:
        self.handled.append(exchange)
        self._does(exchange)


class Stage:
    """A pipeline with one route, `/p`, and all that comes out of it."""

    def __init__(self, does: Callable[[Exchange], None] | None = None, max_body: int = 0) -> None:
        self.endpoint = Answering(does)
        self.metrics, self.unrouted = Counted(), Counted()
        self.recorded: list[Exchange] = []
        self.reports: list[tuple[str, BaseException | None]] = []
        self.route = Route("p", self.endpoint, self.metrics, b"/p", max_body=max_body)
        self.pipeline = Pipeline(
            Table([], [self.route]),
            trusted=(network("10.0.0.0/8"),),
            unrouted=self.unrouted,
            record=lambda made, seconds: self.recorded.append(made),
            report=lambda event, made, error: self.reports.append((event, error)),
        )

    def answer(self, made: Exchange) -> Response:
        """The one answer that the client gets."""
        self.pipeline.handle(made)
        (response,) = client_of(made).responses
        return response


def client_of(made: Exchange) -> Nobody:
    return cast(Nobody, made.client)


def refuse(error: GatewayError) -> Callable[[Exchange], None]:
    def does(made: Exchange) -> None:
        raise error

    return does


def test_request_goes_to_the_endpoint_of_its_route_named() -> None:
    stage = Stage()
    made = exchange(b"X-Request-ID: mine")
    assert stage.answer(made).status == 200
    assert stage.endpoint.handled == [made]
    assert (made.route, made.request_id) == (stage.route, b"mine")


def test_client_behind_a_trusted_peer_is_who_the_peer_says() -> None:
    made = exchange(b"X-Forwarded-For: 192.0.2.1", address="10.0.0.1", trusted=True)
    Stage().answer(made)
    assert made.client_ip == b"192.0.2.1"


def test_client_that_is_not_trusted_is_itself_whatever_it_says() -> None:
    made = exchange(b"X-Forwarded-For: 192.0.2.1")
    Stage().answer(made)
    assert made.client_ip == b"192.0.2.7"


def test_request_without_a_route_is_not_found() -> None:
    stage = Stage()
    made = exchange(first=b"GET /other?a=b HTTP/1.1")
    response = stage.answer(made)
    assert (response.status, response.closes) == (404, False)
    body = orjson.loads(response.body)
    stamp = body.pop("timestamp")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(stamp)).total_seconds()) < 10
    assert body == {
        "error": "not_found",
        "message": NotFound.message,
        "path": "/other",
        "status_code": 404,
        "request_id": made.request_id.decode(),
    }
    assert values(response.lines, b"content-type") == [b"application/json"]
    assert values(response.lines, b"x-request-id") == [made.request_id]
    assert len(values(response.lines, b"date")) == len(values(response.lines, b"server")) == 1


@pytest.mark.parametrize(
    "first", [b"TRACE /p HTTP/1.1", b"CONNECT a:1 HTTP/1.1", b"TRACE * HTTP/1.1"]
)
def test_method_that_is_never_forwarded_is_not_allowed(first: bytes) -> None:
    stage = Stage()
    response = stage.answer(exchange(first=first))
    assert response.status == 405
    assert b"GET" in values(response.lines, b"allow")[0]
    assert stage.endpoint.handled == []


def test_options_of_the_whole_gateway_are_answered_here() -> None:
    stage = Stage()
    made = exchange(first=b"OPTIONS * HTTP/1.1")
    response = stage.answer(made)
    assert (response.status, response.body) == (200, b"")
    assert b"OPTIONS" in values(response.lines, b"allow")[0]
    assert values(response.lines, b"x-request-id") == [made.request_id]


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"http://a.example/p/x?y", b"/p/x", b"?y"),
        (b"HTTPS://A.example/p", b"/p", b""),
        (b"http://a.example/p?", b"/p", b"?"),
        (b"http://a.example/p?x=http://b/?y", b"/p", b"?x=http://b/?y"),
    ],
)
def test_target_in_absolute_form_is_its_path(target: bytes, path: bytes, query: bytes) -> None:
    made = exchange(first=b"GET " + target + b" HTTP/1.1")
    assert Stage().answer(made).status == 200
    assert (made.path, made.query) == (path, query)
    assert made.host is not None
    assert made.host.lower() == b"a.example"


@pytest.mark.parametrize("target", [b"http://a.example", b"http://a.example?q"])
def test_target_without_a_path_is_the_root(target: bytes) -> None:
    made = exchange(first=b"GET " + target + b" HTTP/1.1")
    Stage().answer(made)
    assert (made.path, made.query) == (b"/", target[16:])


@pytest.mark.parametrize(
    "target",
    [b"p", b"*", b"http:/p", b"http:///p", b"http://b.example/p", b"ftp://a.example/p",
     b"http://u@a.example/p", b"http://a.example:81/p", b"?", b"a.example:80"],
)  # fmt: skip
def test_target_of_another_form_is_a_bad_request(target: bytes) -> None:
    stage = Stage()
    response = stage.answer(exchange(first=b"GET " + target + b" HTTP/1.1"))
    assert (response.status, response.closes) == (400, False)
    assert stage.endpoint.handled == []


@pytest.mark.parametrize(("length", "status"), [(10, 200), (11, 413)])
def test_body_that_announces_more_than_its_route_takes_is_too_large(
    length: int, status: int
) -> None:
    stage = Stage(max_body=10)
    assert stage.answer(exchange(b"Content-Length: %d" % length)).status == status
    assert len(stage.endpoint.handled) == (status == 200)


def test_error_of_an_endpoint_is_its_answer() -> None:
    stage = Stage(refuse(UpstreamTimeout(fields=(b"Retry-After: 1",))))
    made = exchange()
    response = stage.answer(made)
    assert (response.status, made.error) == (504, "gateway_timeout")
    assert values(response.lines, b"retry-after") == [b"1"]
    assert stage.reports == [("gateway_timeout", None)]


def test_error_of_the_client_is_not_reported() -> None:
    stage = Stage(refuse(NotFound()))
    assert stage.answer(exchange()).status == 404
    assert stage.reports == []


def test_failure_of_an_endpoint_is_reported_and_told_without_its_reason() -> None:
    failure = RuntimeError("the secret of db.internal")

    def does(made: Exchange) -> None:
        raise failure

    stage = Stage(does)
    made = exchange()
    response = stage.answer(made)
    assert (response.status, response.closes, made.error) == (500, True, "internal_error")
    assert b"secret" not in response.body
    assert ("internal_error", failure) in stage.reports


def test_error_behind_the_head_of_an_answer_cuts_the_connection() -> None:
    def does(made: Exchange) -> None:
        made.status = 200
        raise UpstreamClosed

    made = exchange()
    Stage(does).pipeline.handle(made)
    assert (client_of(made).cuts, client_of(made).responses) == (1, [])
    assert (made.status, made.error) == (200, "bad_gateway")


def test_first_error_of_an_exchange_is_the_one_that_is_kept() -> None:
    made = exchange()
    made.error = "client_closed"
    Stage().pipeline.refuse(made, NotFound())
    assert made.error == "client_closed"


def test_refusal_of_what_was_never_handled_is_named_too() -> None:
    made = exchange()
    made.closes = True
    Stage().pipeline.refuse(made, NotFound())
    (response,) = client_of(made).responses
    assert response.closes
    assert re.fullmatch(rb"[0-9a-f]{32}", values(response.lines, b"x-request-id")[0])


def test_path_of_a_malformed_request_is_told_as_far_as_it_is_text() -> None:
    made = exchange()
    made.path = b'/\xff"\x00'
    Stage().pipeline.refuse(made, NotFound())
    assert orjson.loads(client_of(made).responses[0].body)["path"] == '/\ufffd"\0'


def test_end_of_an_exchange_is_counted_for_its_route_and_recorded() -> None:
    stage = Stage()
    made = exchange()
    stage.pipeline.handle(made)
    made.status = 200
    stage.pipeline.finish(made)
    assert (stage.metrics.seen, stage.unrouted.seen) == ([(b"GET", 200)], [])
    assert stage.recorded == [made]


def test_end_of_an_exchange_without_a_route_is_counted_as_that() -> None:
    stage = Stage()
    made = exchange(first=b"GET /other HTTP/1.1")
    stage.pipeline.handle(made)
    made.status = 404
    stage.pipeline.finish(made)
    assert (stage.metrics.seen, stage.unrouted.seen) == ([], [(b"GET", 404)])


def test_pipeline_without_a_log_counts_all_the_same() -> None:
    meter = Counted()
    made = exchange()
    pipeline = Pipeline(
        Table([], []), trusted=(), unrouted=meter, record=None, report=lambda *_: None
    )
    pipeline.handle(made)
    pipeline.finish(made)
    assert len(meter.seen) == 1
