from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import headers
from gateway.errors import ClientError
from gateway.exchange import Exchange
from gateway.http1.fields import CHUNKED
from tests.http1 import grammar, peers
from tests.http1.reading import asked, exchange, read_request, request, response, values

TRACE = b"4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = b"00-" + TRACE + b"-00f067aa0ba902b7-01"
TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def sent(made: Exchange, *extra: bytes, path: bytes = b"/up", host: bytes = b"up") -> list[bytes]:
    """The lines that go upstream for this exchange."""
    head = headers.upward(made, path, host, extra)
    assert head.endswith(b"\r\n\r\n")
    return head[:-4].split(b"\r\n")


@pytest.mark.parametrize("name", [b"a", b"A-1_b.c", b"x" * 128])
def test_request_is_named_as_the_client_said(name: bytes) -> None:
    made = exchange(b"X-Request-ID: " + name)
    headers.identify(made)
    assert made.request_id == name


@pytest.mark.parametrize("name", [b"", b"x" * 129, b"a b", b"a/b", b"\xe9", b'"', b"a,b"])
def test_request_whose_name_will_not_do_gets_a_new_one(name: bytes) -> None:
    made = exchange(b"X-Request-ID: " + name)
    headers.identify(made)
    assert re.fullmatch(rb"[0-9a-f]{32}", made.request_id)


def test_names_are_never_given_twice() -> None:
    made = [exchange() for _ in range(1000)]
    for each in made:
        headers.identify(each)
    for names in ([each.request_id for each in made], [each.traceparent for each in made]):
        assert len(set(names)) == 1000


@pytest.mark.parametrize(
    "parent", [PARENT, PARENT[:-2] + b"00", b"cc" + PARENT[2:], b"01" + PARENT[2:] + b"-more"]
)
def test_trace_goes_on_as_it_came(parent: bytes) -> None:
    made = exchange(b"traceparent: " + parent, b"tracestate: a=1")
    headers.identify(made)
    assert (made.trace_id, made.traceparent) == (TRACE, parent)
    lines = sent(made)
    assert values(lines, b"traceparent") == [parent]
    assert values(lines, b"tracestate") == [b"a=1"]


@pytest.mark.parametrize(
    "parent",
    [
        b"", b"00", b"ff" + PARENT[2:], PARENT.upper(), PARENT + b"-more", PARENT[:-1],
        b"00-" + b"0" * 32 + PARENT[35:], PARENT[:36] + b"0" * 16 + PARENT[52:], b"x" + PARENT,
    ],
)  # fmt: skip
def test_trace_that_is_not_valid_begins_anew_without_its_state(parent: bytes) -> None:
    made = exchange(b"traceparent: " + parent, b"tracestate: a=1")
    headers.identify(made)
    lines = sent(made)
    (new,) = values(lines, b"traceparent")
    assert re.fullmatch(rb"00-%b-[0-9a-f]{16}-01" % made.trace_id, new)
    assert made.trace_id != TRACE
    assert values(lines, b"tracestate") == []


def test_trace_begins_where_the_client_has_none() -> None:
    made = exchange()
    headers.identify(made)
    assert values(sent(made), b"traceparent") == [made.traceparent]
    assert made.traceparent.split(b"-")[1] == made.trace_id


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ([], b"10.0.0.1"),
        ([b"192.0.2.1"], b"192.0.2.1"),
        ([b"192.0.2.1, 192.0.2.2"], b"192.0.2.2"),
        ([b"192.0.2.1,\t10.0.0.2"], b"192.0.2.1"),
        ([b"192.0.2.1", b"10.0.0.2, fd00::1"], b"192.0.2.1"),
        ([b"192.0.2.1", b"192.0.2.2"], b"192.0.2.2"),
        ([b"2001:DB8::0"], b"2001:db8::"),
        ([b"10.0.0.9, 10.0.0.2"], b"10.0.0.9"),
        ([b"192.0.2.1, nonsense"], b"10.0.0.1"),
        ([b"nonsense, 10.0.0.2"], b"10.0.0.2"),
        ([b"192.0.2.1:80"], b"10.0.0.1"),
        ([b""], b"10.0.0.1"),
        ([b"192.0.2.1, "], b"10.0.0.1"),
        ([b"192.0.2.1\xe9"], b"10.0.0.1"),
        ([b"192.0.2.1, fe80::1%eth0"], b"10.0.0.1"),
        ([b'fe80::1%"}'], b"10.0.0.1"),
    ],
)
def test_client_is_the_nearest_address_that_is_not_trusted(
    forwarded: list[bytes], address: bytes
) -> None:
    made = exchange(*(b"X-Forwarded-For: " + value for value in forwarded), address="10.0.0.1")
    headers.believe(made, TRUSTED)
    assert made.client_ip == address


@given(st.lists(st.text('0123456789abcdef:.%,- \t"', max_size=12).map(str.encode), max_size=4))
def test_client_is_an_address_whatever_is_claimed(parts: list[bytes]) -> None:
    made = exchange(b"X-Forwarded-For: " + b",".join(parts), address="10.0.0.1")
    headers.believe(made, TRUSTED)
    text = made.client_ip.decode()
    assert str(ip_address(text)) == text
    assert "%" not in text


SPOOFED = (
    b"X-Forwarded-For: 1.1.1.1", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: evil",
    b"Forwarded: for=1.1.1.1", b"X-Real-IP: 1.1.1.1", b"X_Forwarded_For: 1.1.1.1",
    b"X-Forwarded-Port: 1", b"x_real-ip: 1.1.1.1", b"X-Forwarded-Prefix: /evil",
)  # fmt: skip


def test_head_goes_up_with_its_lines_as_they_came_and_ours_behind() -> None:
    made = exchange(b"X-B:  2", b"Cookie: a", b"x-b:3", first=b"PUT /p?q=%2F HTTP/1.0")
    headers.identify(made)
    assert sent(made, b"Via: 1.1 us", path=b"/a%2Fb") == [
        b"PUT /a%2Fb?q=%2F HTTP/1.1",
        b"Host: up",
        b"X-B:  2",
        b"Cookie: a",
        b"x-b:3",
        b"Via: 1.1 us",
        b"X-Forwarded-For: 192.0.2.7",
        b"X-Forwarded-Proto: http",
        b"X-Forwarded-Host: a.example",
        b"X-Request-ID: " + made.request_id,
        b"traceparent: " + made.traceparent,
    ]


def test_what_a_stranger_says_of_the_client_stops_here() -> None:
    made = exchange(*SPOOFED)
    headers.identify(made)
    lines = sent(made)
    assert not re.search(rb"1\.1\.1\.1|evil|https|Port", b"\r\n".join(lines))
    assert values(lines, b"x-forwarded-for") == [b"192.0.2.7"]
    assert values(lines, b"x-forwarded-host") == [b"a.example"]


def test_what_a_trusted_peer_says_of_the_client_goes_on_and_grows() -> None:
    made = exchange(b"X-Forwarded-For: 2.2.2.2", *SPOOFED, address="10.0.0.1", trusted=True)
    headers.identify(made)
    lines = sent(made)
    assert values(lines, b"x-forwarded-for") == [b"2.2.2.2, 1.1.1.1, 10.0.0.1"]
    assert values(lines, b"x-forwarded-proto") == [b"https"]
    assert values(lines, b"x-forwarded-host") == [b"evil"]
    assert values(lines, b"forwarded") == [b"for=1.1.1.1"]
    assert values(lines, b"x-forwarded-port") == [b"1"]


def test_trusted_peer_that_says_nothing_is_the_client() -> None:
    made = exchange(address="10.0.0.1", trusted=True)
    headers.identify(made)
    lines = sent(made)
    assert values(lines, b"x-forwarded-for") == [b"10.0.0.1"]
    assert values(lines, b"x-forwarded-proto") == [b"http"]
    assert values(lines, b"x-forwarded-host") == [b"a.example"]


def test_client_of_http10_without_a_host_asked_for_the_targets() -> None:
    head, target = read_request(b"GET / HTTP/1.0\r\n\r\n")
    made = asked(head, target)
    headers.identify(made)
    assert values(sent(made), b"x-forwarded-host") == [b"up"]


def test_exchange_leaves_the_head_that_it_shares_as_it_was() -> None:
    head, target = read_request(
        b"GET / HTTP/1.1\r\nHost: a\r\ntraceparent: x\r\ntracestate: y\r\n\r\n"
    )
    first, second = (asked(head, target) for _ in range(2))
    for made in (first, second):
        headers.identify(made)
    assert [values(sent(made), b"tracestate") for made in (first, second)] == [[], []]
    assert first.traceparent != second.traceparent
    assert head.tracestate == [b"tracestate: y"]


@given(grammar.requests)
def test_head_that_goes_up_is_read_by_others_as_we_meant_it(data: bytes) -> None:
    """What a server behind us sees: one Host, one framing, the fields that pass, nothing else."""
    if b"\r\n\r\n" not in data:
        return
    try:
        head, target = read_request(data)
    except ClientError:
        return
    made = asked(head, target)
    headers.identify(made)
    extra = (headers.CHUNKED_LINE,) if head.length == CHUNKED else ()
    up = headers.upward(made, b"/up", b"up", extra)
    body = b"0\r\n\r\n" if head.length == CHUNKED else b"x" * min(head.length, 100)
    theirs = peers.h11_request(up + body)
    assert theirs is not None
    assert theirs.first == (head.method, b"/up" + made.query)
    assert (theirs.used >= 0) is (head.length <= 100)
    names = [name.lower() for name, _ in theirs.fields]
    assert names.count(b"host") == 1
    assert names.count(b"content-length") <= (head.length >= 0)
    assert names.count(b"transfer-encoding") == (head.length == CHUNKED)
    assert not {b"connection", b"upgrade", b"expect", b"keep-alive", b"te"} & set(names)


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        ((b"Cookie: a=1; b=2",), b"2"),
        ((b"Cookie: a=1", b"Cookie: b=x=y"), b"x=y"),
        ((b"Cookie: ab=1; B=2; b",), b""),
        ((), b""),
    ],
)
def test_cookie_is_found_by_its_name(lines: tuple[bytes, ...], value: bytes) -> None:
    assert headers.cookie(request(*lines), b"b") == value


def test_answer_goes_down_with_its_lines_and_the_requests_name() -> None:
    made = exchange(b"X-Request-ID: mine")
    headers.identify(made)
    head = response(b"Date: then", b"Server: theirs", b"A:  1", b"X-Request-ID: theirs")
    assert headers.downward(made, head, b"Connection: close").split(b"\r\n") == [
        b"HTTP/1.1 200 OK",
        b"Date: then",
        b"Server: theirs",
        b"A:  1",
        b"X-Request-ID: mine",
        b"Connection: close",
        b"",
        b"",
    ]


def test_answer_without_date_and_server_gets_ours() -> None:
    made = exchange()
    headers.identify(made)
    lines = headers.downward(made, response()).split(b"\r\n")
    assert values(lines, b"server") == [b"gateway"]
    assert len(values(lines, b"date")) == 1


def test_date_is_the_second_that_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for second in (784111777.2, 784111777.9, 784111778.1):
        monkeypatch.setattr(headers, "time", lambda second=second: second)
        seen.append(headers.date_line())
    assert seen[0] == seen[1] == b"Date: Sun, 06 Nov 1994 08:49:37 GMT"
    assert parsedate_to_datetime(seen[2][6:].decode()).timestamp() == 784111778
