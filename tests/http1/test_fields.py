from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.http1.fields import (
    CONNECTION,
    CONTENT_LENGTH,
    COOKIE,
    KEEP_ALIVE,
    ONCE,
    PLAIN,
    HeadLimits,
    Lines,
    length_of,
    name_of,
    tokens,
    too_large,
    value_of,
    without,
)

KINDS = {
    b"connection": CONNECTION,
    b"content-length": CONTENT_LENGTH,
    b"cookie": COOKIE,
    b"if-match": ONCE,
}


def lines() -> Lines:
    return Lines(lambda name: KINDS.get(name, PLAIN))


@pytest.mark.parametrize(
    "line", [b"A:b", b"A: b", b"A:\t b \t", b"!#$%&'*+-.^_`|~9: x", b"A:", b"A: :", b"A: \xff\x80"]
)
def test_line_within_the_grammar_passes(line: bytes) -> None:
    assert lines()[line] is None


@pytest.mark.parametrize(
    "line",
    [b"", b":", b": a", b"A", b"A b", b"A :b", b" A: b", b"\tA: b", b"A\x00: b", b"A(: b"]
    + [b"A: b" + bytes((c,)) for c in range(32) if c != 9]
    + [b"\xe9: b", b"A: b\x7fc", b"A: b\r", b"A: b\nB: c", b"A: b\rB: c", b"A: b\n c"],
)  # fmt: skip
def test_line_outside_the_grammar_is_refused(line: bytes) -> None:
    with pytest.raises(BadRequest, match="malformed"):
        lines()[line]


@given(st.binary(max_size=20))
def test_line_that_passes_is_a_token_a_colon_and_visible_text(line: bytes) -> None:
    try:
        lines()[line]
    except BadRequest:
        return
    name, colon, value = line.partition(b":")
    assert colon
    assert name.decode("ascii").isprintable()
    assert b" " not in name
    assert all(byte == 9 or byte >= 32 for byte in value)


def test_line_with_a_meaning_is_its_kind_and_its_bare_value() -> None:
    assert lines()[b"CONTENT-length: \t5 "] == (CONTENT_LENGTH, b"5")


@pytest.mark.parametrize("value", [b"keep-alive", b" Keep-Alive\t"])
def test_connection_that_says_keep_alive_alone_is_a_kind_of_its_own(value: bytes) -> None:
    assert lines()[b"Connection:" + value] == (KEEP_ALIVE, value.strip())


def test_connection_that_says_more_is_a_list() -> None:
    assert lines()[b"Connection: keep-alive, te"] == (CONNECTION, b"keep-alive, te")


@pytest.mark.parametrize("line", [b"A: b", b"Content-Length: 5"])
def test_line_met_again_means_the_same(line: bytes) -> None:
    known = lines()
    first = known[line]
    assert line in known
    assert known[line] == first


@pytest.mark.parametrize("line", [b"Cookie: secret=1", b"If-Match: 1", b"A: " + b"b" * 254])
def test_line_that_is_secret_or_long_is_not_remembered(line: bytes) -> None:
    known = lines()
    known[line]
    assert not known


def test_line_that_is_refused_is_not_remembered() -> None:
    known = lines()
    for _ in range(2):
        with pytest.raises(BadRequest):
            known[b"A b"]
    assert not known


def test_memory_of_lines_is_bounded() -> None:
    known = lines()
    for number in range(Lines.LIMIT * 2 + 5):
        known[b"A: %d" % number]
        assert len(known) <= Lines.LIMIT


def test_name_and_value_are_what_stands_around_the_first_colon() -> None:
    assert (name_of(b"X-A: b:c "), value_of(b"X-A: b:c ")) == (b"x-a", b"b:c")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"", []), (b"a", [b"a"]), (b"A, b ,\tc", [b"a", b"b", b"c"]), (b",, ,a,", [b"a"])],
)
def test_list_is_read_in_lower_case_without_its_empty_members(
    value: bytes, expected: list[bytes]
) -> None:
    assert tokens(value) == expected


def test_without_takes_lines_away_whatever_their_case() -> None:
    assert without([b"A: 1", b"b: 2", b"B: 3"], {b"b"}) == [b"A: 1"]


@pytest.mark.parametrize(
    ("value", "length"),
    [
        (b"0", 0),
        (b"007", 7),
        (b"9" * 18, 10**18 - 1),
        (b"9" * 19, -1),
        (b"", -1),
        (b"-1", -1),
        (b"+1", -1),
        (b"1_0", -1),
        (b"0x1", -1),
        (b"1 0", -1),
        (b"5, 5", -1),
        ("٣".encode(), -1),
        (b"\xb2", -1),
        (b"1e3", -1),
    ],
)
def test_length_is_digits_and_nothing_else(value: bytes, length: int) -> None:
    assert length_of(value) == length


@pytest.mark.parametrize(
    ("fields", "over"),
    [
        ([b"x" * 20], False),
        ([b"x" * 21], True),
        ([b"x" * 20, b"x" * 10], False),
        ([b"x" * 20, b"x" * 11], True),
        ([b"x"] * 3, False),
        ([b"x"] * 4, True),
    ],
)
def test_head_is_too_large_from_one_beyond_a_limit(fields: list[bytes], over: bool) -> None:
    assert too_large(fields, HeadLimits(field=20, total=30, count=3)) is over
