"""Request heads (RFC 9112, 3): read, checked, and sorted for a proxy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final

from gateway.errors import (
    BadRequest,
    ClientError,
    ExpectationFailed,
    HeaderFieldsTooLarge,
    NotImplementedCoding,
    UriTooLong,
    VersionNotSupported,
)
from gateway.http1.fields import (
    BARE_LF,
    CHUNKED,
    CONNECTION,
    CONTENT_LENGTH,
    COOKIE,
    EXPECT,
    FORWARDED,
    FORWARDED_FOR,
    FORWARDED_HOST,
    FORWARDED_PROTO,
    HOP,
    HOST,
    KEEP_ALIVE,
    ONCE,
    PLAIN,
    REQUEST_ID,
    TE,
    TOKEN,
    TRACEPARENT,
    TRACESTATE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeadLimits,
    Lines,
    length_of,
    name_of,
    tokens,
    too_large,
    value_of,
    without,
)

# Visible ASCII without "#" and "\\": a fragment is the client's own, and a backslash is no slash.
REQUEST_LINE: Final = re.compile(rb"(" + TOKEN + rb"{1,32}+) ([!-\"$-\[\]-~]++) HTTP/1\.([01])\r\n")
METHOD: Final = re.compile(TOKEN + rb"{1,32}")
HOST_VALUE: Final = re.compile(
    rb"(?:\[([0-9A-Fa-f:.]++)\]|[A-Za-z0-9\-._~%!$&'()*+,;=]*+)"
    rb"(?::(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|0*+[0-5]?[0-9]{0,4}))?"
)
ABSOLUTE: Final = re.compile(rb"((?i:https?))://([^/?]*+)([/?].*+)?")
USERINFO: Final = re.compile(rb"//[^/?]*@")
STANDARD_METHODS: Final = frozenset(
    (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH")
)

REQUEST_KINDS: Final = {
    b"host": HOST,
    b"connection": CONNECTION,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"upgrade": UPGRADE,
    b"expect": EXPECT,
    b"te": TE,
    b"keep-alive": HOP,
    b"proxy-connection": HOP,
    b"proxy-authorization": HOP,
    b"http2-settings": HOP,
    b"trailer": HOP,
    b"forwarded": FORWARDED,
    b"x-real-ip": FORWARDED,
    b"x-forwarded-for": FORWARDED_FOR,
    b"x-forwarded-proto": FORWARDED_PROTO,
    b"x-forwarded-host": FORWARDED_HOST,
    b"x-request-id": REQUEST_ID,
    b"traceparent": TRACEPARENT,
    b"tracestate": TRACESTATE,
    b"cookie": COOKIE,
    b"authorization": ONCE,
    b"x-api-key": ONCE,
    b"range": ONCE,
}


LOOK_ALIKE: Final = frozenset((b"x-real-ip", b"x-request-id", b"x-api-key"))


@lru_cache(1024)
def is_host(value: bytes) -> bool:
    """Whether this may stand in Host or as a target's authority (RFC 3986, 3.2.2)."""
    match = HOST_VALUE.fullmatch(value)
    if match is None:
        return False
    if match[1] is None:
        return True
    try:
        ip_address(match[1].decode())
    except ValueError:
        return False
    return True


def kind_of(name: bytes) -> int:
    """What a request's field means; look-alikes with `_` count as what they look like."""
    kind = REQUEST_KINDS.get(name)
    if kind is not None:
        return kind
    if name.startswith(b"x-forwarded-"):
        return FORWARDED
    dashed = name.replace(b"_", b"-")
    if dashed != name and (dashed in LOOK_ALIKE or dashed.startswith(b"x-forwarded-")):
        return HOP  # whoever sent it: to a WSGI server it is the real one
    return ONCE if name.startswith(b"if-") else PLAIN


known: Final = Lines(kind_of)


class RequestHead:
    """A request's head but for its target: what a proxy needs to know, and the lines that pass.

    Lines are without their line ends. `length` counts the body's bytes, or is `CHUNKED`. Not
    changed once it is read: a client that sends the same fields again gets the same object.
    """

    # What most heads do not have: set where it is there.
    length = 0
    host: bytes | None = None
    plain = True  # no chunks, no upgrade, no trailers wanted
    upgrade = False  # to a WebSocket; nothing else is upgraded to
    expect = False
    expecting = False
    te_trailers = False
    request_id: bytes | None = None
    traceparent: bytes | None = None
    tracestate: list[bytes] | None = None
    forwarded_for: list[bytes] | None = None
    forwarded_proto: bytes | None = None
    forwarded_host: bytes | None = None
    forwarded: list[bytes] | None = None
    once: Mapping[bytes, bytes] = MappingProxyType({})  # values of fields that may stand once
    digest: bytes | None = None  # of its API key, as `gateway.policies.api_key` worked it out
    origin: bytes | None = None  # as `gateway.policies.cors` found it
    text = b""  # the lines that pass, each with its line end
    line = target = b""  # of the last request that had this head
    wishes: object = None  # what a cache has read in it, for when the client repeats it

    def __init__(self, method: bytes, minor: int, block: bytes) -> None:
        self.method = method
        self.minor = minor
        self.block = block  # all lines, as they came
        self.keep_alive = minor == 1

    # Taken apart when somebody asks, which few do: a head is kept for as long as its connection.

    @property
    def received(self) -> list[bytes]:
        """All lines, as they came."""
        return self.block.split(b"\r\n") if self.block else []

    @property
    def lines(self) -> list[bytes]:
        """Those that pass."""
        return self.text.split(b"\r\n")[:-1]

    def values(self, name: bytes) -> list[bytes]:
        """The values of every field of this (lower-case) name, in order."""
        return [value_of(line) for line in self.received if name_of(line) == name]


def parse_request(
    data: bytes, end: int, limits: HeadLimits, last: RequestHead | None = None
) -> tuple[RequestHead, bytes]:
    """Read the head in `data[: end + 4]`, where `end` is where its empty line begins.

    Gives the head and the target. `last` is the head before it on the same connection: clients
    repeat their fields from request to request, and what was read once need not be read again.
    Raises the `ClientError` that says what is wrong.
    """
    if last is not None and data.startswith(last.line) and data[len(last.line) : end] == last.block:
        return last, last.target
    match = REQUEST_LINE.match(data)
    if match is None:
        raise bad_request_line(data, limits)
    start = match.end()
    if start - 2 > limits.line:
        raise UriTooLong
    method, target, minor = match.groups()
    block = data[start:end]
    if (
        last is not None
        and block == last.block
        and method == last.method
        and last.minor == (minor == b"1")
    ):
        last.line, last.target = data[:start], target
        return last, target
    if method not in STANDARD_METHODS and method.upper() in STANDARD_METHODS:
        raise BadRequest("the method is written in lower case")
    head = RequestHead(method, int(minor), block)
    head.line, head.target = data[:start], target
    size, received = len(block) + 2, head.received
    if (size > limits.quick or len(received) > limits.count) and too_large(received, limits):
        raise HeaderFieldsTooLarge
    head.text = b"\r\n".join((*_sort(head, received), b""))
    return head, target


def _sort(head: RequestHead, received: list[bytes]) -> list[bytes]:
    """Note the fields that mean something; gives the lines that pass."""
    lines: list[bytes] = []
    append = lines.append
    length = coding = upgrade = None
    named: list[bytes] = []
    cookie = -1
    for line in received:
        field = known[line]
        if field is None:
            append(line)
            continue
        kind, value = field
        if kind == HOST:
            if head.host is not None:
                raise BadRequest("there is more than one Host")
            if not is_host(value):
                raise BadRequest("the Host is malformed")
            head.host = value
        elif kind == KEEP_ALIVE:
            head.keep_alive = True
        elif kind == CONNECTION:
            named += tokens(value)
        elif kind == CONTENT_LENGTH:
            if length is not None or (length := length_of(value)) < 0:
                raise BadRequest("the Content-Length is malformed")
            append(line)
        elif kind == COOKIE:
            if cookie < 0:
                cookie = len(lines)
                append(line)
            else:  # RFC 9113, 8.2.3: crumbs are put together again
                lines[cookie] += b"; " + value
        elif kind == ONCE:
            if (name := name_of(line)) in head.once:
                raise BadRequest("a field that may stand once stands twice")
            head.once = {**head.once, name: value}
            append(line)
        elif kind == TRANSFER_ENCODING:
            coding = value.lower() if coding is None else b""
        elif kind == UPGRADE:
            upgrade = value.lower() if upgrade is None else b""
        elif kind != HOP:
            _note(head, kind, line, value)
    if head.minor == 1 and head.host is None:
        raise BadRequest("there is no Host")
    if coding is not None:
        if length is not None:
            raise BadRequest("there are both Content-Length and Transfer-Encoding")
        if head.minor == 0:
            raise BadRequest("HTTP/1.0 has no Transfer-Encoding")
        if coding != b"chunked":
            raise NotImplementedCoding
        length = CHUNKED
    if length:
        head.length = length
    if named:
        lines = _obey_connection(head, lines, named, upgrade)
    if length == CHUNKED or head.upgrade or head.te_trailers:
        head.plain = False
    return lines


def _note(head: RequestHead, kind: int, line: bytes, value: bytes) -> None:
    if kind == REQUEST_ID:
        head.request_id = value
    elif kind == TRACEPARENT:
        # Two of them cannot both be the parent: neither is (W3C Trace Context, 3.2).
        head.traceparent = value if head.traceparent is None else b""
    elif kind == TRACESTATE:
        head.tracestate = [*(head.tracestate or ()), line]
    elif kind == TE:
        head.te_trailers = head.te_trailers or b"trailers" in tokens(value)
    elif kind == EXPECT:
        if head.expecting:
            raise BadRequest("there is more than one Expect")
        head.expecting = True
        if value.lower() != b"100-continue":
            raise ExpectationFailed
        head.expect = head.minor == 1  # RFC 9110, 10.1.1: a server ignores it in HTTP/1.0
    elif kind == FORWARDED_FOR:
        head.forwarded_for = [*(head.forwarded_for or ()), value]
    elif kind == FORWARDED_PROTO:
        head.forwarded_proto = value
    elif kind == FORWARDED_HOST:
        head.forwarded_host = value
    else:
        head.forwarded = [*(head.forwarded or ()), line]


# What `Connection` cannot name away: an upstream decides by these (RFC 9110, 7.6.1 has a
# proxy remove whatever is named, which is how they were smuggled out elsewhere).
PROTECTED: Final = frozenset(
    (b"host", b"content-length", b"authorization", b"x-api-key", b"cookie")
)
OPTIONS: Final = frozenset((b"close", b"keep-alive", b"upgrade", b"te"))


def _obey_connection(
    head: RequestHead, lines: list[bytes], named: list[bytes], upgrade: bytes | None
) -> list[bytes]:
    """Do what `Connection` says; gives the lines that it leaves."""
    if b"close" in named:
        head.keep_alive = False
    elif head.minor == 0:
        head.keep_alive = head.keep_alive or b"keep-alive" in named
    head.upgrade = (
        upgrade == b"websocket"
        and b"upgrade" in named
        and head.minor == 1
        and head.method == b"GET"
        and head.length == 0
    )
    drop = set(named) - OPTIONS - PROTECTED
    return without(lines, drop) if drop else lines


def without_userinfo(target: bytes) -> bytes:
    """A target as logs and errors may show it: an absolute form can hold a password."""
    return target if target[:1] == b"/" else USERINFO.sub(b"//", target)


def bad_request_line(data: bytes, limits: HeadLimits) -> ClientError:
    """Why a request's first line did not match."""
    line = data.partition(b"\r\n")[0]
    if len(line) > limits.line:
        return UriTooLong()
    version = line.rpartition(b" HTTP/")[2]
    if re.fullmatch(rb"[0-9](?:\.[0-9])?", version) and version not in (b"1.0", b"1.1", b"0.9"):
        return VersionNotSupported()
    return BadRequest("the request line is malformed")


def check_partial_request(data: bytes, limits: HeadLimits, seen: int = 0) -> None:
    """Refuse as early as can be what will never become a good head.

    The first `seen` bytes were looked at before: a head that comes byte by byte costs no more
    than one that comes at once. Raises the `ClientError`; returns when more bytes may still make
    it whole.
    """
    fresh = data.find(b"\n", seen)
    if fresh < 0:  # still the same line
        if len(data) - data.rfind(b"\n") - 1 > max(limits.line, limits.field) + 1:
            raise UriTooLong if b"\n" not in data else HeaderFieldsTooLarge
        return
    if BARE_LF.search(data, fresh):
        raise BadRequest("a line ends in a bare LF")
    line = data.find(b"\r\n")
    if REQUEST_LINE.match(data) is None:
        raise bad_request_line(data, limits)
    if line > limits.line:
        raise UriTooLong
    lines = data[line + 2 :].removesuffix(b"\r").split(b"\r\n")
    if not lines[-1]:  # no field has begun
        lines.pop()
    if too_large(lines, limits):
        raise HeaderFieldsTooLarge
