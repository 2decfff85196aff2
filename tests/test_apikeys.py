from __future__ import annotations

import random
import re
import secrets
from hashlib import sha256
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import apikeys

KEY = apikeys.make(random.Random(1).choice).encode()


def test_key_is_recognised_by_its_form() -> None:
    assert re.fullmatch(apikeys.FORM, KEY.decode())
    assert len(KEY) == 42
    assert apikeys.is_sound(KEY)


def test_key_has_at_least_128_random_bits() -> None:
    assert len(apikeys.DIGITS) ** apikeys.RANDOM > 2**128
    drawn: list[str] = []

    def choice(letters: str) -> str:
        drawn.append(letters)
        return letters[len(drawn) % len(letters)]

    key = apikeys.make(choice)
    assert drawn == [apikeys.DIGITS] * apikeys.RANDOM
    assert key[4:10] == "123456"


def test_keys_differ() -> None:
    assert len({apikeys.make(secrets.choice) for _ in range(1000)}) == 1000


def test_checksum_is_the_crc_of_all_before_it() -> None:
    number = 0
    for letter in KEY[-6:].decode():
        number = number * 62 + apikeys.DIGITS.index(letter)
    assert number == crc32(KEY[:-6])


@given(st.integers(0, len(KEY) - 1), st.sampled_from(apikeys.DIGITS + "_-é "))
def test_letter_that_is_mistyped_is_noticed(place: int, letter: str) -> None:
    wrong = KEY[:place] + letter.encode() + KEY[place + 1 :]
    assert apikeys.is_sound(wrong) == (wrong == KEY)


@given(st.integers(4, len(KEY) - 2))
def test_letters_that_are_swapped_are_noticed(place: int) -> None:
    swapped = KEY[:place] + KEY[place + 1 : place + 2] + KEY[place : place + 1] + KEY[place + 2 :]
    assert apikeys.is_sound(swapped) == (swapped == KEY)


@pytest.mark.parametrize(
    "wrong",
    [b"", b"gwk_", KEY[:-1], KEY + b"0", KEY.upper(), b" " + KEY, KEY + b"\n", KEY.swapcase()],
)
def test_what_is_no_key_is_not_sound(wrong: bytes) -> None:
    assert not apikeys.is_sound(wrong)


@given(st.binary(max_size=100))
def test_whatever_is_sent_is_judged_without_an_error(data: bytes) -> None:
    assert not apikeys.is_sound(data)


def test_stored_is_the_sha_256() -> None:
    assert apikeys.digest(KEY) == sha256(KEY).hexdigest()
