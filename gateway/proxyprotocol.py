"""The PROXY protocol, versions 1 and 2: who is behind a balancer that does not read HTTP.

The header comes before everything else, TLS too (HAProxy's doc/proxy-protocol.txt, of 2020/03/05;
the sections named below are its own). Pure: bytes in, an address out. Nothing is guessed: whether
a connection begins with a header is known before it is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"  # 2.2
FIXED: Final = 16  # bytes of a version 2 header before its addresses
LONGEST_LINE: Final = 107  # bytes of version 1, with its line end (2.1)
LONGEST: Final = 4096
"""Bytes of a version 2 header: addresses take 216 at most, the rest is told by the way (TLVs)."""

_LINE: Final = re.compile(rb"PROXY TCP([46]) (\S{1,39}) (\S{1,39}) ([0-9]{1,5}) ([0-9]{1,5})\r\n")
_UNKNOWN: Final = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_FAMILIES: Final = (0, 12, 36, 216)  # bytes of the addresses: unspecified, IPv4, IPv6, Unix
_STREAM: Final = 1
_LAST_PROTOCOL: Final = 2  # unspecified, stream, datagram


class BadHeader(Exception):
    """What came is no header, or none that we take: the connection is closed."""


@dataclass(frozen=True, slots=True)
class Header:
    """`size` bytes were the header. The client's address, or none where it speaks for itself."""

    size: int
    address: str = ""


def read_header(data: bytes) -> Header | None:
    """The header that `data` begins with; None while it may be the beginning of one.

    Raises BadHeader as soon as it can be none any more.
    """
    if data[:5] == b"PROXY"[: len(data)]:
        return _line(data)
    if data[: len(SIGNATURE)] == SIGNATURE[: len(data)]:
        return _binary(data)
    raise BadHeader("no PROXY header")


def _line(data: bytes) -> Header | None:
    """Version 1 (2.1): a line of text."""
    end = data.find(b"\r\n", 0, LONGEST_LINE) + 2
    if end < 2:
        if len(data) >= LONGEST_LINE or b"\n" in data or b"\r" in data[:-1]:
            raise BadHeader("a line without its end")
        return None
    line = data[:end]
    if _UNKNOWN.fullmatch(line):
        return Header(end)
    match = _LINE.fullmatch(line)
    if match is None:
        raise BadHeader("a malformed line")
    family, source, target, *ports = (part.decode("ascii", "replace") for part in match.groups())
    if any(str(int(port)) != port or int(port) > 65535 for port in ports):
        raise BadHeader("a malformed port")
    _address(family, target)
    return Header(end, _address(family, source))


def _address(family: str, text: str) -> str:
    try:
        if family == "4":
            return str(IPv4Address(text))
        if "%" in text:  # a scope is a name of that host's own choosing
            raise ValueError
        return _shown(IPv6Address(text))
    except ValueError:
        raise BadHeader("a malformed address") from None


def _shown(address: IPv6Address) -> str:
    """As the system would say it, had the client come here itself."""
    return str(address.ipv4_mapped or address)


def _binary(data: bytes) -> Header | None:
    """Version 2 (2.2): a fixed part, addresses by family, and what else there is to tell."""
    if len(data) < FIXED:
        return None
    command, family, protocol = data[12], data[13] >> 4, data[13] & 15
    size = FIXED + int.from_bytes(data[14:16], "big")
    if command not in (_LOCAL, _PROXY):
        raise BadHeader("another version or command")
    if size > LONGEST:
        raise BadHeader("too long")
    if command == _PROXY:
        if family >= len(_FAMILIES) or protocol > _LAST_PROTOCOL:
            raise BadHeader("an unknown family or protocol")
        if size - FIXED < _FAMILIES[family]:
            raise BadHeader("addresses that are cut short")
    if len(data) < size:
        return None
    # LOCAL is the balancer itself, asking after our health. What is no TCP is taken for unknown.
    if command == _PROXY and protocol == _STREAM:
        if family == 1:
            return Header(size, str(IPv4Address(data[16:20])))
        if family == 2:
            return Header(size, _shown(IPv6Address(data[16:32])))
    return Header(size)
