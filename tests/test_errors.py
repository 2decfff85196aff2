from __future__ import annotations

import pytest

from gateway import errors
from gateway.errors import (
    BadRequest,
    ClientError,
    GatewayError,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    ValidationFailed,
)

CODES = {
    400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found",
    405: "method_not_allowed", 408: "request_timeout", 409: "conflict", 410: "gone",
    412: "precondition_failed", 413: "payload_too_large",
    414: "uri_too_long", 417: "expectation_failed", 422: "validation_error", 429: "rate_limited",
    431: "header_fields_too_large", 500: "internal_error", 501: "not_implemented",
    502: "bad_gateway", 503: "service_unavailable", 504: "gateway_timeout",
    505: "version_not_supported",
}  # fmt: skip
KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, GatewayError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_error_has_the_code_of_its_status(kind: type[GatewayError]) -> None:
    assert kind.code == CODES[kind.status]


@pytest.mark.parametrize("kind", KINDS)
def test_error_blames_the_client_for_4xx_alone(kind: type[GatewayError]) -> None:
    theirs = kind.status < 500 or kind.status in (501, 505)
    assert kind is ClientError or (kind.blame == "client") is theirs


@pytest.mark.parametrize("kind", KINDS)
def test_error_without_a_message_has_its_own(kind: type[GatewayError]) -> None:
    made = kind(details=[]) if kind is ValidationFailed else kind()
    assert made.message == kind.message == str(made)


def test_error_with_a_message_says_that() -> None:
    assert BadRequest("no").message == str(BadRequest("no")) == "no"


def test_error_closes_the_connection_as_its_kind_does_unless_told_otherwise() -> None:
    assert (BadRequest().closes, NotFound().closes) == (True, False)
    assert not BadRequest(closes=False).closes
    assert PayloadTooLarge(closes=True).closes


def test_error_carries_its_field_lines() -> None:
    assert MethodNotAllowed(fields=(b"Allow: GET",)).fields == (b"Allow: GET",)
    assert NotFound().fields == ()
