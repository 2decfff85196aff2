from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http1.codings import AS_IT_IS, Choice, Choices, choose, weights_of

OFFERED = (b"zstd", b"br", b"gzip")


@pytest.mark.parametrize(
    ("value", "coding"),
    [
        (b"gzip", b"gzip"),
        (b"gzip, deflate, br, zstd", b"zstd"),  # all the same to the client: ours
        (b"gzip, br", b"br"),
        (b"gzip;q=1.0, br;q=0.9", b"gzip"),
        (b"GZIP; Q=0.5", b"gzip"),
        (b"gzip ;\tq=0.001", b"gzip"),
        (b"x-gzip", b"gzip"),
        (b"*", b"zstd"),
        (b"*;q=0.1, gzip", b"gzip"),
        (b"zstd;q=0, *", b"br"),
        (b"identity;q=0.5, gzip;q=0.4", None),
        (b"identity;q=0.5, gzip;q=0.5", b"gzip"),
        (b"identity", None),
        (b"gzip;q=0", None),
        (b"gzip;q=0.000, br;q=0", None),
        (b"*;q=0", None),
        (b"deflate, compress", None),
        (b"", None),
        (b",, ,", None),
        (b"gzip;q=2", None),
        (b"gzip;q=0.1234", None),
        (b"gzip;level=6", None),
        (b"gzip;q=0.5;q=1", None),
        (b"gz ip, br", b"br"),
    ],
)
def test_coding_is_the_best_that_both_have(value: bytes, coding: bytes | None) -> None:
    assert choose(value, OFFERED).coding == coding


@pytest.mark.parametrize(
    ("value", "demanded"),
    [
        (b"gzip", False),
        (b"identity;q=0, gzip", True),
        (b"*;q=0, gzip", True),
        (b"*;q=0, identity, gzip", False),
        (b"identity;q=0.1, *;q=0, gzip", False),
        (b"identity;q=0", False),  # nothing else is taken either: it gets what there is
    ],
)
def test_client_can_refuse_what_is_not_coded(value: bytes, demanded: bool) -> None:
    assert choose(value, OFFERED).demanded is demanded


def test_first_weight_of_a_coding_counts() -> None:
    assert weights_of(b"gzip;q=0.25, gzip;q=1, x-gzip") == {b"gzip": 250}


NAMES = st.sampled_from([b"zstd", b"br", b"gzip", b"identity", b"*", b"deflate"])
WEIGHTS = st.dictionaries(NAMES, st.integers(0, 1000))


def written(weights: dict[bytes, int]) -> bytes:
    return b", ".join(
        b"%b;q=%d.%03d" % (name, *divmod(weight, 1000)) for name, weight in weights.items()
    )


@given(WEIGHTS)
def test_weights_are_read_as_they_were_written(weights: dict[bytes, int]) -> None:
    assert weights_of(written(weights)) == weights


@given(WEIGHTS)
def test_choice_is_wanted_and_nothing_is_wanted_more(weights: dict[bytes, int]) -> None:
    choice = choose(written(weights), OFFERED)
    wanted = {each: weights.get(each, weights.get(b"*", 0)) for each in OFFERED}
    plain = weights.get(b"identity")
    if choice.coding is None:
        assert not any(wanted.values()) or (plain is not None and plain > max(wanted.values()))
        return
    assert wanted[choice.coding] == max(wanted.values()) > 0
    assert plain is None or plain <= wanted[choice.coding]
    before = OFFERED[: OFFERED.index(choice.coding)]
    assert all(wanted[each] < wanted[choice.coding] for each in before)


@given(st.binary(max_size=60))
def test_any_bytes_have_a_choice(value: bytes) -> None:
    assert choose(value, OFFERED).coding in (None, *OFFERED)


def test_choices_are_remembered_and_bounded() -> None:
    choices = Choices(OFFERED)
    assert choices[b"gzip"] is choices[b"gzip"]
    long = b"gzip" + b"," * Choices.LONGEST
    assert choices[long] == Choice(b"gzip")
    assert long not in choices
    for number in range(Choices.LIMIT):
        assert choices[b"x%d" % number] == AS_IT_IS
    assert len(choices) == 1
