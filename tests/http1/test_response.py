from __future__ import annotations

import pytest

from gateway.errors import UpstreamProtocolError
from gateway.http1.fields import CHUNKED, UNTIL_CLOSE, HeadLimits
from tests.http1.reading import read_response, response

EMPTY = b"\r\n\r\n"


def test_head_is_its_status_line_and_its_lines() -> None:
    head = response(b"A:  1 ", b"b: 2", first=b"HTTP/1.1 404 Not There")
    assert (head.first, head.status, head.minor) == (b"HTTP/1.1 404 Not There", 404, 1)
    assert head.lines == [b"A:  1 ", b"b: 2"]
    assert (head.length, head.keep_alive) == (UNTIL_CLOSE, True)


@pytest.mark.parametrize(
    "line", [b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.1 999 \xc3\xa9\t!", b"HTTP/1.1 599 a b"]
)
def test_status_line_within_the_grammar_passes_as_it_came(line: bytes) -> None:
    assert response(first=line).first == line


def test_status_line_of_http10_goes_down_in_our_version() -> None:
    head = response(first=b"HTTP/1.0 200 Fine")
    assert (head.first, head.keep_alive) == (b"HTTP/1.1 200 Fine", False)


@pytest.mark.parametrize(
    "line",
    [
        b"", b"HTTP/1.1", b"HTTP/1.1 20", b"HTTP/1.1 2000", b"HTTP/1.1 099 A", b"HTTP/2.0 200 OK",
        b"http/1.1 200 OK", b"HTTP/1.1  200 OK", b" HTTP/1.1 200 OK", b"HTTP/1.1 200\tOK",
        b"HTTP/1.1 2x0 OK", b"HTTP/1.1 200 O\x00K", b"HTTP/1.1 200 O\rK", b"ICY 200 OK",
        b"HTTP/1.1 200 OK\n",
    ],
)  # fmt: skip
def test_status_line_of_another_form_is_a_protocol_error(line: bytes) -> None:
    with pytest.raises(UpstreamProtocolError, match="status line"):
        read_response(line + EMPTY)


@pytest.mark.parametrize("line", [b"A", b"A : 1", b" A: 1", b"A: \x00", b"A: 1\n", b": 1"])
def test_field_of_another_form_is_a_protocol_error(line: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        read_response(b"HTTP/1.1 200 OK\r\nB: 1\r\n" + line + b"\r\nC: 2" + EMPTY)


def test_content_length_is_the_bodys_length_and_passes() -> None:
    head = response(b"Content-Length: 42")
    assert (head.length, head.lines) == (42, [b"Content-Length: 42"])


def test_content_length_said_twice_alike_passes_once() -> None:
    head = response(b"Content-Length: 5", b"content-length: 05")
    assert (head.length, head.lines) == (5, [b"Content-Length: 5"])


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: 5", b"Content-Length: 6"),
        (b"Content-Length: 5, 5",),
        (b"Content-Length: ",),
        (b"Content-Length: +5",),
        (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 5"),
        (b"Transfer-Encoding: gzip, chunked",),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: identity",),
        (b"Transfer-Encoding: ",),
        (b"Transfer-Encoding: chunked\t",),
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_framing_that_is_not_certain_is_a_protocol_error(
    lines: tuple[bytes, ...], method: bytes
) -> None:
    with pytest.raises(UpstreamProtocolError):
        response(*lines, method=method)


def test_chunks_are_noted_and_their_field_stops_here() -> None:
    head = response(b"Transfer-Encoding: Chunked")
    assert (head.length, head.lines) == (CHUNKED, [])


def test_chunks_in_http10_are_a_protocol_error() -> None:
    with pytest.raises(UpstreamProtocolError):
        response(b"Transfer-Encoding: chunked", first=b"HTTP/1.0 200 OK")


@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize(
    ("method", "status"), [(b"HEAD", b"200"), (b"GET", b"204"), (b"GET", b"304"), (b"GET", b"103")]
)
def test_answer_that_has_no_body_has_none_whatever_it_says(
    method: bytes, status: bytes, framing: bytes
) -> None:
    assert response(framing, first=b"HTTP/1.1 " + status + b" X", method=method).length == 0


@pytest.mark.parametrize(
    ("method", "status", "passes"),
    [
        (b"HEAD", b"200", True),
        (b"GET", b"304", True),
        (b"GET", b"204", False),
        (b"GET", b"103", False),
    ],
)
def test_content_length_passes_only_where_it_may_stand(
    method: bytes, status: bytes, passes: bool
) -> None:
    head = response(b"Content-Length: 5", first=b"HTTP/1.1 " + status + b" X", method=method)
    assert bool(head.lines) is passes


@pytest.mark.parametrize(
    "line",
    [
        b"Keep-Alive: 5",
        b"Proxy-Connection: close",
        b"TE: x",
        b"Upgrade: h2c",
        b"Connection: a",
        b"X-Accel-Redirect: /secret",
        b"x-accel-anything: 1",
        b"X-Request-ID: theirs",
    ],
)
def test_field_between_two_hops_stops_here(line: bytes) -> None:
    assert response(line).lines == []


def test_field_that_connection_names_stops_here() -> None:
    head = response(b"A: 1", b"Connection: a, close", b"Connection: b", b"B: 2", b"C: 3")
    assert (head.lines, head.keep_alive) == ([b"C: 3"], False)


def test_content_length_cannot_be_named_away() -> None:
    head = response(b"Content-Length: 5", b"Connection: content-length")
    assert head.lines == [b"Content-Length: 5"]


@pytest.mark.parametrize(
    ("version", "lines", "kept"),
    [
        (b"1.1", (), True),
        (b"1.1", (b"close",), False),
        (b"1.1", (b"keep-alive", b"close"), False),
        (b"1.1", (b"a",), True),
        (b"1.0", (), False),
        (b"1.0", (b"keep-alive",), True),
        (b"1.0", (b"a, Keep-Alive",), True),
        (b"1.0", (b"a",), False),
        (b"1.0", (b"keep-alive", b"a"), True),
    ],
)
def test_connection_is_kept_as_its_options_say(
    version: bytes, lines: tuple[bytes, ...], kept: bool
) -> None:
    fields = [b"Connection: " + line for line in lines]
    assert response(*fields, first=b"HTTP/" + version + b" 200 OK").keep_alive is kept


def test_date_and_server_pass_once() -> None:
    head = response(b"Date: 1", b"Server: 2", b"date: 3", b"server: 4")
    assert head.lines == [b"Date: 1", b"Server: 2"]
    assert head.dated
    assert head.named


def test_trailers_that_are_announced_are_noted_apart() -> None:
    head = response(b"Trailer: Checksum", b"A: 1")
    assert (head.trailer, head.lines) == (b"Trailer: Checksum", [b"A: 1"])


@pytest.mark.parametrize(
    ("options", "protocol"),
    [(b"Upgrade", b"websocket"), (b"close", b""), (b"x, upgrade", b"websocket")],
)
def test_switch_to_a_protocol_counts_when_connection_names_it(
    options: bytes, protocol: bytes
) -> None:
    head = response(
        b"Upgrade: WebSocket", b"Connection: " + options, first=b"HTTP/1.1 101 Switching"
    )
    assert (head.upgrade, head.lines, head.length) == (protocol, [], 0)


SMALL = HeadLimits(field=20, total=30, count=3)


@pytest.mark.parametrize("fields", [(b"A: 1",) * 4, (b"A: ".ljust(21, b"1"),)])
def test_head_over_a_limit_is_a_protocol_error(fields: tuple[bytes, ...]) -> None:
    data = b"\r\n".join((b"HTTP/1.1 200 OK", *fields, b"", b""))
    with pytest.raises(UpstreamProtocolError, match="too large"):
        read_response(data, limits=SMALL)


def test_head_up_to_its_limits_passes() -> None:
    head = read_response(b"HTTP/1.1 200 OK\r\nA: 45678901\r\nB: 45678901\r\nC: 45678" + EMPTY)
    assert len(head.lines) == 3


def test_head_that_comes_again_is_the_same() -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 5" + EMPTY
    first = read_response(data)
    assert read_response(data + b"other", last=first) is first


@pytest.mark.parametrize(
    ("data", "method"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5", b"HEAD"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6", b"GET"),
        (b"HTTP/1.1 200 Ok\r\nContent-Length: 5", b"GET"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5", b"GET"),
    ],
)
def test_head_that_differs_in_anything_is_read_anew(data: bytes, method: bytes) -> None:
    first = read_response(b"HTTP/1.1 200 OK\r\nContent-Length: 5" + EMPTY)
    again = read_response(data + EMPTY, method, last=first)
    alone = read_response(data + EMPTY, method)
    assert again is not first
    assert (again.first, again.length) == (alone.first, alone.length)
