"""What clients may ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.predictions.asked import (
    MOST,
    read_query,
    read_symbol,
    read_symbols,
    wants_features,
)


@pytest.mark.parametrize("text", ["A", "AAPL", "aapl", "GooGl"])
def test_symbol_is_put_in_upper_case(text: str) -> None:
    assert read_symbol(text) == text.upper()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ABCDEF",
        "BRK.B",
        "A1",
        " A",
        "A\n",
        "\N{LATIN SMALL LETTER SHARP S}",
        "\u017f",
        "\u212a",
    ],
)
def test_anything_else_is_no_symbol(text: str) -> None:
    with pytest.raises(BadRequest) as raised:
        read_symbol(text)
    assert not raised.value.closes


@given(st.text(max_size=8))
def test_what_passes_is_one_to_five_ascii_capitals(text: str) -> None:
    try:
        symbol = read_symbol(text)
    except BadRequest:
        return
    assert symbol.isascii()
    assert symbol.isalpha()
    assert symbol.isupper()
    assert len(symbol) == len(text) <= 5


def test_symbols_come_once_each_in_order() -> None:
    query = read_query(b"?symbols=b,A,%20c&symbols=B,D")
    assert read_symbols(query) == ("B", "A", "C", "D")


def many(count: int) -> bytes:
    return b"?symbols=" + ",".join("A" for _ in range(count)).encode()


def test_hundred_symbols_are_taken_and_no_more() -> None:
    assert read_symbols(read_query(many(MOST))) == ("A",)
    with pytest.raises(BadRequest, match="100"):
        read_symbols(read_query(many(MOST + 1)))


@pytest.mark.parametrize("query", [b"", b"?", b"?symbols=", b"?symbols=A,,B", b"?other=A"])
def test_list_without_symbols_is_refused(query: bytes) -> None:
    with pytest.raises(BadRequest):
        read_symbols(read_query(query))


@pytest.mark.parametrize("query", [b"?" + b"a=1&" * 300, b"?a=%ff", b"?a=\xff"])
def test_query_that_cannot_be_read_is_refused(query: bytes) -> None:
    with pytest.raises(BadRequest):
        read_query(query)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        (b"", False),
        (b"?include_features=true", True),
        (b"?include_features=TRUE", True),
        (b"?include_features=false", False),
    ],
)
def test_features_are_told_when_they_are_asked_for(query: bytes, wanted: bool) -> None:
    assert wants_features(read_query(query)) is wanted


@pytest.mark.parametrize(
    "query",
    [
        b"?include_features=",
        b"?include_features=1",
        b"?include_features=true&include_features=true",
    ],
)
def test_other_words_for_it_are_refused(query: bytes) -> None:
    with pytest.raises(BadRequest):
        wants_features(read_query(query))
