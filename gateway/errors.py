"""Everything that can go wrong with a request: what the client is told, who is to blame.

An error is raised (or handed on) where it is noticed and becomes an answer in one place,
`gateway.pipeline`. Messages are for clients: no host name, no secret, no stack trace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

Blame = Literal["client", "upstream", "gateway", "store"]


class GatewayError(Exception):
    """An answer that the gateway makes itself.

    `status` and `code` are what the client sees; `closes` says that the connection cannot be
    used again, because where the next request begins on it is not certain; `fields` are
    further header lines, without their line ends.
    """

    status = 500
    code = "internal_error"
    message = "the gateway failed"
    blame: Blame = "gateway"
    closes = False
    details: Sequence[Mapping[str, object]] = ()

    def __init__(
        self, message: str = "", *, closes: bool | None = None, fields: tuple[bytes, ...] = ()
    ) -> None:
        super().__init__(message or self.message)
        self.message = message or self.message
        self.fields = fields
        if closes is not None:
            self.closes = closes


class ClientError(GatewayError):
    blame = "client"


class BadRequest(ClientError):
    status, code, message, closes = 400, "bad_request", "the request is malformed", True


class Unauthorized(ClientError):
    status, code, message = 401, "unauthorized", "valid credentials are needed"


class Forbidden(ClientError):
    status, code, message = 403, "forbidden", "this is not allowed"


class NotFound(ClientError):
    status, code, message = 404, "not_found", "no route matches this path"


class MethodNotAllowed(ClientError):
    status, code, message = 405, "method_not_allowed", "this method is not allowed here"


class RequestTimeout(ClientError):
    status, code, message, closes = 408, "request_timeout", "the request took too long", True


class Gone(ClientError):
    status, code, message = 410, "gone", "this is no longer served"


class PayloadTooLarge(ClientError):
    status, code, message = 413, "payload_too_large", "the request body is too large"


class UriTooLong(ClientError):
    status, code, message, closes = 414, "uri_too_long", "the request line is too long", True


class ExpectationFailed(ClientError):
    status, code, message = 417, "expectation_failed", "this expectation cannot be met"


class ValidationFailed(ClientError):
    """`details` says where and what, one mapping for each flaw."""

    status, code, message = 422, "validation_error", "the request is not what this path takes"

    def __init__(self, message: str = "", *, details: Sequence[Mapping[str, object]]) -> None:
        super().__init__(message)
        self.details = details


class RateLimited(ClientError):
    status, code, message = 429, "rate_limited", "too many requests"


class Conflict(ClientError):
    """Something that is there already is in the way; `details` says of which fields."""

    status, code, message = 409, "conflict", "this does not go with what is there already"

    def __init__(self, message: str = "", *, details: Sequence[Mapping[str, object]] = ()) -> None:
        super().__init__(message)
        self.details = details


class PreconditionFailed(ClientError):
    status, code, message = 412, "precondition_failed", "it is not as the request expects it"


class HeaderFieldsTooLarge(ClientError):
    status, code, closes = 431, "header_fields_too_large", True
    message = "the header fields are too large"


class NotImplementedCoding(ClientError):
    status, code, closes = 501, "not_implemented", True
    message = "this transfer coding is not implemented"


class VersionNotSupported(ClientError):
    status, code, closes = 505, "version_not_supported", True
    message = "only HTTP/1.0 and HTTP/1.1 are spoken here"


class UpstreamError(GatewayError):
    """The upstream failed. `kind` is its label in the metrics: one of a fixed few."""

    blame: Blame = "upstream"
    kind = "protocol"


class UpstreamProtocolError(UpstreamError):
    status, code, kind = 502, "bad_gateway", "protocol"
    message = "the upstream's answer is malformed"


class UpstreamClosed(UpstreamError):
    status, code, kind = 502, "bad_gateway", "closed"
    message = "the upstream hung up before it answered"


class UpstreamInsecure(UpstreamError):
    status, code, kind = 502, "bad_gateway", "tls"
    message = "no secure connection to the upstream could be made"


class UpstreamUnreachable(UpstreamError):
    status, code, kind = 503, "service_unavailable", "connect"
    message = "no upstream could be reached"


class UpstreamBusy(UpstreamError):
    """The line for a connection is full, or the wait in it took too long: ours to tell apart."""

    status, code, kind = 503, "service_unavailable", "pool"
    message = "the upstream has no free connection"


class UpstreamUnavailable(UpstreamError):
    status, code, kind = 503, "service_unavailable", "unavailable"
    message = "no upstream is available"


class UpstreamTimeout(UpstreamError):
    status, code, kind = 504, "gateway_timeout", "timeout"
    message = "the upstream did not answer in time"


class ConnectTimeout(UpstreamTimeout):
    kind = "connect_timeout"


class StoreDown(GatewayError):
    """A store's server could not be reached, or did not answer in its time."""

    status, code = 503, "service_unavailable"
    blame: Blame = "store"  # told once, when it is lost, and not for each request
    message = "what this needs to be decided is not available"


class Draining(GatewayError):
    status, code, closes = 503, "service_unavailable", True
    message = "the gateway is shutting down"
