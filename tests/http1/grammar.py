"""What hypothesis builds messages from: mostly valid, and wrong in the ways that have been used.

The parts are the ones that request smuggling was done with: two framings, odd white space, folded
lines, look-alike names, control bytes, repeated fields.
"""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

SUFFIX: Final = b"GET /smuggled HTTP/1.1\r\nHost: b\r\n\r\n"
"""Stands behind a body: whoever frames it differently takes this for something else."""

METHODS: Final = (
    [b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"DELETE", b"PATCH"] * 9
    + [b"get", b"M-SEARCH", b"X" * 33, b"", b"G T", b"POST\t"]
)  # fmt: skip
TARGETS: Final = (
    [b"/", b"/a/b?c=d", b"/a%2Fb", b"//a", b"/?", b"/a;b,c:d@e!$&'()*+=-._~", b'/"<>`{|}^'] * 12
    + [b"*", b"http://a/", b"a", b"/a b", b"/\t", b"/#", b"/\\", b"/\x7f", b"/\xe9", b""]
)  # fmt: skip
VERSIONS: Final = [b"HTTP/1.1"] * 90 + [b"HTTP/1.0"] * 20 + [
    b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1.1 ", b"HTTP/01.1", b"HTTP/1.", b"HTTP/0.9",
]  # fmt: skip
STATUS: Final = (
    [b"200 OK", b"404 Not Found", b"204 No Content", b"304 Not Modified", b"500 ", b"200"] * 12
    + [b"103 Early", b"099 X", b"2000 OK", b" 200 OK", b"20 OK", b"-20 OK", b"200\tOK"]
)  # fmt: skip

LENGTHS: Final = [b"5", b"0", b"15", b"05"] * 20 + [
    b"+5", b"-5", b"5 5", b"5,5", b"5, 6", b"0x5", b"5_0", b"", b"\xb25", b"5;", b"5\x00", b"1e1",
    b"99999999999999999999", b"18446744073709551621", b"5.0", b"\x0b5", b"5\x0c", "٥".encode(),
]  # fmt: skip
CODINGS: Final = [b"chunked", b"Chunked"] * 40 + [
    b"gzip, chunked", b"chunked, gzip", b"xchunked", b"chunked, chunked", b"identity", b"",
    b"chunked;q=1", b"chunked,", b",chunked", b"\x0bchunked", b"chunked\x0c", b'"chunked"',
    b"chunked\x00", b"chun\tked", b"gzip", b"chunked\xa0",
]  # fmt: skip
NAMES: Final = [b"X-A", b"x-b", b"Accept", b"!#$%&'*+-.^_`|~", b"X_C", b"If-Match", b"Via"] * 20 + [
    b"", b"A B", b"A\x00", b"\xe9", b"A(", b"A/", b" A", b"\tA", b"A\r", b"\x0bA", b"@", b"{",
]  # fmt: skip
VALUES: Final = [b"1", b"a, b", b"\xc3\xa9", b"a\tb", b"", b'"q"', b"a:b", b"close"] * 14 + [
    b"\x00", b"a\rb", b"a\nb", b"\x7f", b"\x01", b"a\r\n b", b"a\r\n\tb", b"\x1b[0m", b"\x0b",
]  # fmt: skip


def _field(names: list[bytes], values: list[bytes]) -> st.SearchStrategy[bytes]:
    return st.builds(
        lambda name, colon, value, pad, end: name + colon + value + pad + end,
        st.sampled_from(names),
        st.sampled_from([b": ", b":", b": \t"] * 24 + [b" :", b"\t:", b"", b"\x00:", b"::"]),
        st.sampled_from(values),
        st.sampled_from([b""] * 8 + [b" ", b"\t "]),
        st.sampled_from([b"\r\n"] * 99 + [b"\n", b"\r", b"\r\r\n", b"\r\n ", b"\n\r\n", b"\r\n\r"]),
    )


LENGTH_NAMES: Final = [b"Content-Length", b"content-length"] * 20 + [
    b"Content_Length", b" Content-Length", b"Content-Length ", b"\nContent-Length",
    b"Content-Length\x00",
]  # fmt: skip
CODING_NAMES: Final = [b"Transfer-Encoding", b"transfer-encoding"] * 20 + [
    b"Transfer_Encoding", b"Transfer-Encoding\t", b"\x0bTransfer-Encoding", b"Transfer\rEncoding",
]  # fmt: skip

plain: Final = _field(NAMES, VALUES)
lengths: Final = _field(LENGTH_NAMES, LENGTHS)
codings: Final = _field(CODING_NAMES, CODINGS)
hosts: Final = st.sampled_from(
    [b"Host: a\r\n"] * 20 + [b"", b"Host: a\r\nHost: b\r\n", b"Host:\r\n"]
)
options: Final = _field(
    [b"Connection", b"Upgrade", b"TE", b"Expect", b"Trailer"],
    [b"close", b"keep-alive", b"upgrade", b"websocket", b"te", b"trailers", b"100-continue",
     b"content-length", b"x-a, host"],
)  # fmt: skip
framings: Final = st.one_of(
    st.just(b""),
    lengths,
    lengths,
    codings,
    codings,
    st.builds(bytes.__add__, lengths, codings),
    st.builds(bytes.__add__, codings, lengths),
    st.builds(bytes.__add__, lengths, lengths),
    st.builds(bytes.__add__, codings, codings),
)
fields: Final = st.builds(
    lambda *parts: b"".join(parts),
    hosts, st.one_of(st.just(b""), plain), framings, st.one_of(st.just(b""), options, plain),
)  # fmt: skip
bodies: Final = st.sampled_from(
    [b"5\r\nhello\r\n0\r\n\r\n", b"5;a=b\r\nhello\r\n0\r\nT: 1\r\n\r\n", b"hello", b"",
     b"0\r\n\r\n", b"A\r\n0123456789\r\n00\r\n\r\n",
     b"5\nhello\n0\n\n", b"+5\r\nhello\r\n0\r\n\r\n"]
)  # fmt: skip


def _mutated(data: bytes, edits: list[tuple[int, bytes, int]]) -> bytes:
    for at, put, drop in edits:
        at %= len(data) + 1
        data = data[:at] + put + data[at + drop :]
    return data


EDITS: Final = st.lists(
    st.tuples(
        st.integers(0, 400),
        st.sampled_from([b"", b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b"\xff", b"\x7f"])
        | st.binary(max_size=3),
        st.integers(0, 2),
    ),
    max_size=2,
)  # fmt: skip


def mutated(messages: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """These, a few bytes of some of them changed, dropped or put in."""
    return messages | messages | st.builds(_mutated, messages, EDITS)


requests: Final = mutated(
    st.builds(
        lambda method, target, version, rest, body: (
            b"%b %b %b\r\n%b\r\n%b%b" % (method, target, version, rest, body, SUFFIX)
        ),
        st.sampled_from(METHODS),
        st.sampled_from(TARGETS),
        st.sampled_from(VERSIONS),
        fields,
        bodies,
    )
)
answers: Final = mutated(
    st.builds(
        lambda version, status, rest, body: b"%b %b\r\n%b\r\n%b" % (version, status, rest, body),
        st.sampled_from(VERSIONS),
        st.sampled_from(STATUS),
        fields,
        bodies,
    )
)
