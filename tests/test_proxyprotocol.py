from __future__ import annotations

import socket
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxyprotocol import LONGEST, SIGNATURE, BadHeader, Header, read_header

V4 = bytes((192, 0, 2, 1, 198, 51, 100, 1)) + b"\xdc\x04\x01\xbb"
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1") * 2 + b"\xdc\x04\x01\xbb"
MAPPED = socket.inet_pton(socket.AF_INET6, "::ffff:192.0.2.1") * 2 + b"\xdc\x04\x01\xbb"
TLV = b"\x04\x00\x03abc"


def binary(command: int, family: int, body: bytes = b"", size: int | None = None) -> bytes:
    length = len(body) if size is None else size
    return SIGNATURE + bytes((command, family)) + length.to_bytes(2, "big") + body


LINES = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", "192.0.2.1"),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"),
    (b"PROXY TCP6 2001:db8::1 2001:DB8::2 0 443\r\n", "2001:db8::1"),
    (b"PROXY TCP6 2001:0DB8:0:0:0:0:0:0001 ::1 1 2\r\n", "2001:db8::1"),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", "192.0.2.1"),
    (b"PROXY UNKNOWN\r\n", ""),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", ""),
    (b"PROXY UNKNOWN what ever\x00\xff\r\n", ""),
]
BINARIES = [
    (binary(0x21, 0x11, V4), "192.0.2.1"),
    (binary(0x21, 0x11, V4 + TLV * 500), "192.0.2.1"),
    (binary(0x21, 0x21, V6), "2001:db8::1"),
    (binary(0x21, 0x21, MAPPED + TLV), "192.0.2.1"),
    (binary(0x20, 0x00), ""),  # LOCAL
    (binary(0x20, 0x11, V4), ""),  # LOCAL, whatever else it says
    (binary(0x20, 0xFF, b"anything"), ""),
    (binary(0x21, 0x00), ""),  # unspecified
    (binary(0x21, 0x00, TLV), ""),
    (binary(0x21, 0x31, bytes(216)), ""),  # a Unix socket
    (binary(0x21, 0x12, V4), ""),  # UDP
    (binary(0x21, 0x22, V6), ""),
]


@pytest.mark.parametrize(("data", "address"), LINES + BINARIES)
def test_header_says_who_is_behind_it(data: bytes, address: str) -> None:
    assert read_header(data) == Header(len(data), address)
    assert read_header(data + b"GET / HTTP/1.1\r\n\r\n") == Header(len(data), address)


@pytest.mark.parametrize(("data", "address"), LINES + BINARIES)
def test_part_of_a_header_is_waited_for(data: bytes, address: str) -> None:
    for size in range(len(data)):
        assert read_header(data[:size]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"\r\n\r\nGET",
        b"proxy TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
        b"PROXY  TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2 \r\n",
        b"PROXY TCP4 192.0.2.1  198.51.100.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.1\t198.51.100.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\rGET",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n",
        b"PROXY TCP4 192.0.2.01 198.51.100.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.256 1 2\r\n",
        b"PROXY TCP4 192.0.2 198.51.100.1 1 2\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1 02\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 +1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 \xb2 2\r\n",
        b"PROXY TCP4 \xd9\xa1.0.2.1 198.51.100.1 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        b"PROXY TCP6 2001:db8:::1 ::1 1 2\r\n",
        b"PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY UNKNOWN a\rb\r\n",
        b"PROXY\r\n",
        b"PROXY UNKNOWN " + b"a" * 93,
        b"PROXY UNKNOWN " + b"a" * 92 + b"\r\n",
        binary(0x11, 0x11, V4),
        binary(0x31, 0x11, V4),
        binary(0x22, 0x11, V4),
        binary(0x21, 0x41, V4),
        binary(0x21, 0x13, V4),
        binary(0x21, 0x11, V4[:-1]),
        binary(0x21, 0x21, V6[:-1]),
        binary(0x21, 0x31, bytes(215)),
        binary(0x21, 0x11, size=LONGEST - 15),
        binary(0x20, 0x00, size=65535),
    ],
)
def test_what_is_no_header_is_refused(data: bytes) -> None:
    with pytest.raises(BadHeader):
        read_header(data)


def test_longest_headers_are_taken() -> None:
    line = b"PROXY UNKNOWN " + b"a" * 91 + b"\r\n"
    assert read_header(line) == Header(107)
    assert read_header(binary(0x21, 0x11, V4 + bytes(LONGEST - 16 - 12))) == Header(
        LONGEST, "192.0.2.1"
    )


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE]))
def test_any_bytes_are_a_header_a_part_of_one_or_refused(rest: bytes, begin: bytes) -> None:
    data = begin + rest
    with suppress(BadHeader):
        header = read_header(data)
        assert header is None or header.size <= len(data)


@given(st.binary(max_size=60), st.sampled_from([b"PROXY UNKNOWN ", SIGNATURE + b"\x21\x11\x00"]))
def test_verdict_does_not_depend_on_how_it_came(rest: bytes, begin: bytes) -> None:
    """Whole or byte by byte: the first verdict is the last."""
    data = begin + rest

    def verdict(part: bytes) -> Header | str | None:
        try:
            return read_header(part)
        except BadHeader:
            return "bad"

    first = next((v for size in range(len(data)) if (v := verdict(data[:size]))), None)
    if first is not None:
        assert verdict(data) == first
