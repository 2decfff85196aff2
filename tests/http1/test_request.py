from __future__ import annotations

import pytest

from gateway.errors import (
    BadRequest,
    ClientError,
    ExpectationFailed,
    HeaderFieldsTooLarge,
    NotImplementedCoding,
    UriTooLong,
    VersionNotSupported,
)
from gateway.http1.fields import CHUNKED, HeadLimits
from gateway.http1.request import check_partial_request, is_host
from tests.http1.reading import LIMITS, read_request, request

HOST = b"Host: a.example\r\n\r\n"


def test_head_is_its_method_target_version_and_lines() -> None:
    head, target = read_request(b"M-SEARCH /a%2F?b?c HTTP/1.1\r\nHost: a\r\nx-B:  c \r\n\r\nbody")
    assert (head.method, target, head.minor) == (b"M-SEARCH", b"/a%2F?b?c", 1)
    assert head.received == [b"Host: a", b"x-B:  c "]
    assert head.lines == [b"x-B:  c "]
    assert head.values(b"x-b") == [b"c"]
    assert (head.host, head.length, head.keep_alive) == (b"a", 0, True)


def test_head_without_fields_is_one_of_http10() -> None:
    head, _ = read_request(b"GET / HTTP/1.0\r\n\r\n")
    assert (head.received, head.host, head.keep_alive) == ([], None, False)


@pytest.mark.parametrize(
    "line",
    [
        b"GET /", b"GET  / HTTP/1.1", b"GET / HTTP/1.1 ", b" GET / HTTP/1.1", b"GET\t/ HTTP/1.1",
        b"GET / http/1.1", b"GET / HTTP/1.1\r", b"GET /\x00 HTTP/1.1", b"GET /\xe9 HTTP/1.1",
        b"GET /a#b HTTP/1.1", b"GET /a\\b HTTP/1.1", b"GET /a b HTTP/1.1", b"GET /\x7f HTTP/1.1",
        b" / HTTP/1.1", b"/ HTTP/1.1", b"G@T / HTTP/1.1", b"M" * 33 + b" / HTTP/1.1", b"",
        b"get / HTTP/1.1", b"Post / HTTP/1.1", b"GET / HTTP/0.9", b"GET / HTTP/1.10",
        b"GET / HTTP/11", b"GET / HTTP/x.1", b"GET / HTTP/1.1\nX: y", b"\x16\x03\x01 / HTTP/1.1",
    ],
)  # fmt: skip
def test_request_line_of_another_form_is_a_bad_request(line: bytes) -> None:
    with pytest.raises(BadRequest):
        read_request(line + b"\r\n" + HOST)


@pytest.mark.parametrize("version", [b"2.0", b"1.2", b"3.0", b"0.8", b"2", b"9.9"])
def test_version_of_another_kind_is_not_supported(version: bytes) -> None:
    with pytest.raises(VersionNotSupported):
        read_request(b"GET / HTTP/" + version + b"\r\n" + HOST)


@pytest.mark.parametrize("length", [8191, 8192])
def test_request_line_up_to_its_limit_passes(length: int) -> None:
    line = b"GET /".ljust(length - 9, b"a") + b" HTTP/1.1\r\n"
    check_partial_request(line, LIMITS)
    assert len(read_request(line + HOST)[1]) == length - 13


@pytest.mark.parametrize("end", [b" HTTP/1.1\r\n" + HOST, b" HTTP/9.9\r\n" + HOST])
def test_request_line_over_its_limit_is_too_long(end: bytes) -> None:
    with pytest.raises(UriTooLong):
        read_request(b"GET /".ljust(8184, b"a") + end)


@pytest.mark.parametrize("value", [b"a", b"a:80", b"[::1]:80", b"", b"a_b.c~:", b"a%41", b"127.1"])
def test_host_of_any_valid_form_is_kept_as_written(value: bytes) -> None:
    assert request(b"Host:" + value, host=False).host == value


@pytest.mark.parametrize(
    "value",
    [b"u@a", b"a b", b"a/b", b"a?b", b"a#b", b"a\\b", b"[::1", b"a:b", b"a:123456", b"a:80:80",
     b"\xe9", b"a,b c", b'"', b"<"],
)  # fmt: skip
def test_host_of_another_form_is_a_bad_request(value: bytes) -> None:
    with pytest.raises(BadRequest, match="Host"):
        request(b"Host: " + value, host=False)


def test_host_that_is_missing_is_a_bad_request() -> None:
    with pytest.raises(BadRequest, match="no Host"):
        request(host=False)


@pytest.mark.parametrize(
    "line",
    [
        b"Host: a.example",
        b"Content-Length: 0",
        b"Authorization: b",
        b"Range: b",
        b"If-Match: b",
        b"If-Modified-Since: b",
        b"if-range: b",
        b"Expect: 100-continue",
    ],
)
def test_field_that_may_stand_once_stands_twice_is_a_bad_request(line: bytes) -> None:
    with pytest.raises(BadRequest):
        request(line, line.swapcase() if line[:1] == b"A" else line, host=line[:1] != b"H")


def test_fields_that_may_repeat_pass_in_order() -> None:
    assert request(b"A: 1", b"Accept: x", b"A: 2").lines == [b"A: 1", b"Accept: x", b"A: 2"]


def test_cookies_in_several_lines_are_joined_where_the_first_stood() -> None:
    head = request(b"A: 1", b"Cookie: a=1", b"B: 2", b"cookie: b=2", b"Cookie: c=3")
    assert head.lines == [b"A: 1", b"Cookie: a=1; b=2; c=3", b"B: 2"]


@pytest.mark.parametrize("value", [b"0", b"42", b"\t007 "])
def test_content_length_is_the_bodys_length_and_passes(value: bytes) -> None:
    head = request(b"Content-Length:" + value)
    assert head.length == int(value)
    assert head.lines == [b"Content-Length:" + value]


@pytest.mark.parametrize("value", [b"", b"+1", b"-1", b"0x1", b"1,1", b"1 1", b"1" * 19, b"\xb2"])
def test_content_length_of_another_form_is_a_bad_request(value: bytes) -> None:
    with pytest.raises(BadRequest, match="Content-Length"):
        request(b"Content-Length: " + value)


@pytest.mark.parametrize("value", [b"chunked", b" Chunked"])
def test_chunked_in_any_case_is_chunked_and_stops_here(value: bytes) -> None:
    head = request(b"Transfer-Encoding:" + value)
    assert (head.length, head.lines) == (CHUNKED, [])


@pytest.mark.parametrize(
    "value",
    [
        b"gzip, chunked",
        b"xchunked",
        b"chunked, chunked",
        b"identity",
        b"",
        b"chunked;a",
        b"gzip",
        b'"chunked"',
        b"chunked,",
        b"chunked ",
        b"chunked\t",
        b"\tchunked",
    ],
)
def test_coding_other_than_chunked_is_not_implemented(value: bytes) -> None:
    with pytest.raises(NotImplementedCoding):
        request(b"Transfer-Encoding: " + value)


def test_coding_named_twice_is_not_implemented() -> None:
    with pytest.raises(NotImplementedCoding):
        request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")


@pytest.mark.parametrize("value", [b"chunked", b"gzip"])
def test_coding_with_a_content_length_is_a_bad_request(value: bytes) -> None:
    fields = b"Transfer-Encoding: " + value, b"Content-Length: 5"
    for lines in (fields, fields[::-1]):
        with pytest.raises(BadRequest, match="both"):
            request(*lines)


def test_coding_in_http10_is_a_bad_request() -> None:
    with pytest.raises(BadRequest, match=r"1\.0"):
        request(b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.0")


@pytest.mark.parametrize(
    "line",
    [
        b"Keep-Alive: 5",
        b"Proxy-Connection: close",
        b"Proxy-Authorization: x",
        b"Trailer: a",
        b"TE: gzip",
        b"Upgrade: h2c",
        b"HTTP2-Settings: x",
        b"Connection: x",
        b"Connection: ,",
        b"X_Request_ID: 1",
        b"x-request_id: 1",
    ],
)
def test_field_between_two_hops_stops_here(line: bytes) -> None:
    assert request(line).lines == []


def test_field_that_connection_names_stops_here() -> None:
    head = request(b"Secret: 1", b"Connection: secret, X-b", b"x-B: 2", b"C: 3")
    assert head.lines == [b"C: 3"]


def test_field_that_upstreams_decide_by_cannot_be_named_away() -> None:
    lines = [b"Content-Length: 1", b"Authorization: a", b"Cookie: b"]
    head = request(*lines, b"Connection: host, content-length, authorization, cookie")
    assert (head.lines, head.host) == (lines, b"a.example")


@pytest.mark.parametrize(
    ("version", "lines", "kept"),
    [
        (b"1.1", (), True),
        (b"1.1", (b"close",), False),
        (b"1.1", (b"TE, Close",), False),
        (b"1.1", (b"close", b"keep-alive"), False),
        (b"1.1", (b"keep-alive", b"close"), False),
        (b"1.0", (), False),
        (b"1.0", (b"Keep-Alive",), True),
        (b"1.0", (b"te, keep-alive",), True),
        (b"1.0", (b"te",), False),
        (b"1.0", (b"keep-alive", b"te"), True),
        (b"1.0", (b"keep-alive", b"close"), False),
    ],
)
def test_connection_is_kept_as_its_options_say(
    version: bytes, lines: tuple[bytes, ...], kept: bool
) -> None:
    fields = [b"Connection: " + line for line in lines]
    assert request(*fields, first=b"GET / HTTP/" + version).keep_alive is kept


UPGRADE = b"Upgrade: WebSocket"


def test_upgrade_to_websocket_is_noted() -> None:
    head = request(UPGRADE, b"Connection: keep-alive, Upgrade")
    assert (head.upgrade, head.lines) == (True, [])


@pytest.mark.parametrize(
    ("first", "lines"),
    [
        (b"GET / HTTP/1.1", (UPGRADE,)),
        (b"GET / HTTP/1.1", (UPGRADE, b"Connection: close")),
        (b"GET / HTTP/1.1", (b"Connection: upgrade",)),
        (b"GET / HTTP/1.1", (b"Upgrade: h2c", b"Connection: upgrade")),
        (b"GET / HTTP/1.1", (b"Upgrade: websocket, h2c", b"Connection: upgrade")),
        (b"GET / HTTP/1.1", (UPGRADE, UPGRADE, b"Connection: upgrade")),
        (b"GET / HTTP/1.1", (UPGRADE, b"Connection: upgrade", b"Content-Length: 1")),
        (b"GET / HTTP/1.1", (UPGRADE, b"Connection: upgrade", b"Transfer-Encoding: chunked")),
        (b"POST / HTTP/1.1", (UPGRADE, b"Connection: upgrade")),
        (b"GET / HTTP/1.0", (UPGRADE, b"Connection: upgrade")),
    ],
)
def test_upgrade_that_is_none_to_websocket_is_dropped(
    first: bytes, lines: tuple[bytes, ...]
) -> None:
    assert not request(*lines, first=first).upgrade


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ((b"TE: trailers",), True),
        ((b"TE: gzip, Trailers",), True),
        ((b"TE: gzip",), False),
        ((b"TE: trailers", b"TE: gzip"), True),
    ],
)
def test_trailers_are_wanted_when_te_says_so(lines: tuple[bytes, ...], wanted: bool) -> None:
    assert request(*lines).te_trailers is wanted


def test_expectation_of_100_is_noted_and_stops_here() -> None:
    head = request(b"Expect: 100-Continue")
    assert (head.expect, head.lines) == (True, [])


def test_expectation_in_http10_is_ignored() -> None:
    head = request(b"Expect: 100-continue", first=b"POST / HTTP/1.0")
    assert (head.expect, head.lines) == (False, [])


def test_expectation_of_anything_else_fails() -> None:
    with pytest.raises(ExpectationFailed):
        request(b"Expect: 200-ok")


def test_names_of_request_and_trace_are_noted_and_stop_here() -> None:
    head = request(b"X-Request-Id: abc", b"TraceParent: 00-1", b"tracestate: a=1")
    assert (head.request_id, head.traceparent) == (b"abc", b"00-1")
    assert head.tracestate == [b"tracestate: a=1"]
    assert head.lines == []


@pytest.mark.parametrize("count", [2, 3])
def test_traceparent_that_repeats_is_none(count: int) -> None:
    assert request(*[b"traceparent: 00-1"] * count).traceparent == b""


def test_what_proxies_said_is_noted_apart_from_what_passes() -> None:
    head = request(
        b"X-Forwarded-For: 1", b"X-Forwarded-For: 2, 3", b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: b", b"Forwarded: for=1", b"X-Real-IP: 4", b"X_Forwarded_For: 5",
        b"X-Forwarded-Port: 6", b"X_Real-IP: 7", b"A: 8",
    )  # fmt: skip
    assert head.forwarded_for == [b"1", b"2, 3"]
    assert (head.forwarded_proto, head.forwarded_host) == (b"https", b"b")
    assert head.forwarded == [b"Forwarded: for=1", b"X-Real-IP: 4", b"X-Forwarded-Port: 6"]
    assert head.lines == [b"A: 8"]


SMALL = HeadLimits(line=40, field=20, total=30, count=3)


def fields_of(sizes: tuple[int, ...]) -> list[bytes]:
    return [b"A: ".ljust(size, b"x") for size in sizes]


@pytest.mark.parametrize("sizes", [(20,), (20, 10), (10, 10, 10)])
def test_fields_up_to_their_limits_pass(sizes: tuple[int, ...]) -> None:
    fields = fields_of(sizes)
    data = b"\r\n".join((b"GET / HTTP/1.0", *fields, b"", b""))
    for end in range(len(data)):
        check_partial_request(data[:end], SMALL)
    assert read_request(data, SMALL)[0].received == fields


def test_hundred_fields_that_arrive_in_parts_pass() -> None:
    data = b"GET / HTTP/1.0\r\n" + b"A: 1\r\n" * 100
    check_partial_request(data, LIMITS)
    check_partial_request(data + b"\r", LIMITS)
    assert len(read_request(data + b"\r\n")[0].lines) == 100


@pytest.mark.parametrize("sizes", [(21,), (20, 11), (5, 5, 5, 5), (8, 8, 8, 8)])
def test_fields_over_a_limit_are_too_large(sizes: tuple[int, ...]) -> None:
    data = b"\r\n".join((b"GET / HTTP/1.0", *fields_of(sizes), b"", b""))
    with pytest.raises(HeaderFieldsTooLarge):
        read_request(data, SMALL)


@pytest.mark.parametrize("data", [b"", b"G", b"GET /", b"GET / HTTP/1.1\r", b"GET / HTTP/1.1\r\nA"])
def test_partial_head_that_may_become_a_good_one_is_awaited(data: bytes) -> None:
    check_partial_request(data, LIMITS)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"GET / HTTP/1.1\n", BadRequest),
        (b"\n", BadRequest),
        (b"GET / HTTP/1.1\r\nA: 1\nB", BadRequest),
        (b"nonsense\r\n", BadRequest),
        (b"GET / HTTP/2.0\r\n", VersionNotSupported),
        (b"G" * 9000, UriTooLong),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n", UriTooLong),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 9000, HeaderFieldsTooLarge),
        (b"GET / HTTP/1.1\r\n" + b"A: 1\r\n" * 101, HeaderFieldsTooLarge),
        (b"GET / HTTP/1.1\r\n" + (b"A: " + b"b" * 8000 + b"\r\n") * 5, HeaderFieldsTooLarge),
    ],
)
def test_partial_head_that_cannot_become_a_good_one_is_refused(
    data: bytes, error: type[ClientError]
) -> None:
    with pytest.raises(error):
        check_partial_request(data, LIMITS)


def test_fields_that_come_again_give_the_same_head() -> None:
    first, _ = read_request(b"GET /a HTTP/1.1\r\n" + HOST)
    again, target = read_request(b"GET /b HTTP/1.1\r\n" + HOST, last=first)
    assert again is first
    assert target == b"/b"


def test_target_of_a_head_that_comes_again_is_always_its_own() -> None:
    lines = [b"GET /a HTTP/1.1\r\n", b"GET /b HTTP/1.1\r\n", b"GET /bb HTTP/1.1\r\n"]
    order = [0, 0, 1, 1, 2, 0, 2, 2, 1]
    last, targets = None, []
    for number in order:
        last, target = read_request(lines[number] + HOST, last=last)
        targets.append(target)
    assert targets == [lines[number].split()[1] for number in order]


@pytest.mark.parametrize("line", [b"GET /\x7f HTTP/1.1\r\n", b"GET  / HTTP/1.1\r\n", b"GET /\r\n"])
def test_bad_request_line_is_refused_behind_a_good_one_with_the_same_fields(line: bytes) -> None:
    first, _ = read_request(b"GET / HTTP/1.1\r\n" + HOST)
    with pytest.raises(BadRequest):
        read_request(line + HOST, last=first)


@pytest.mark.parametrize(
    "data",
    [
        b"PUT / HTTP/1.1\r\n" + HOST,
        b"GET / HTTP/1.0\r\n" + HOST,
        b"GET / HTTP/1.1\r\nX: 1\r\n" + HOST,
    ],
)
def test_fields_that_differ_in_anything_are_read_anew(data: bytes) -> None:
    first, _ = read_request(b"GET / HTTP/1.1\r\n" + HOST)
    again, _ = read_request(data, last=first)
    alone, _ = read_request(data)
    assert again is not first
    assert (again.method, again.minor, again.lines) == (alone.method, alone.minor, alone.lines)


@pytest.mark.parametrize(
    "host",
    [
        b"a",
        b"a.example:80",
        b"a:",
        b"a:65535",
        b"a:00080",
        b"",
        b"[::1]",
        b"[::1]:443",
        b"10.0.0.1",
    ],
)
def test_host_of_a_name_or_an_address_is_one(host: bytes) -> None:
    assert is_host(host)


@pytest.mark.parametrize("host", [b"[a]", b"[::g]", b"a:65536", b"a:99999", b"a:x", b"u@a", b"a/b"])
def test_host_of_neither_is_none(host: bytes) -> None:
    assert not is_host(host)
