"""Predictions as they are read and shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.predictions.prediction import (
    Found,
    Malformed,
    Prediction,
    json_of,
    moment,
    read,
    shown,
    tag,
)

AT = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC).timestamp()
ISO = "2026-03-01T12:00:00Z"


def of(**fields: Any) -> Prediction:
    return read("AAPL", orjson.dumps({"predicted_price": 1.5, **fields}))


def told(prediction: Prediction, now: float = AT + 10, stale_after: float = 60) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(shown(Found(prediction, b"cache"), now, stale_after))
    return found


def test_json_is_told_with_whatever_it_has() -> None:
    assert told(of(predicted_at=ISO, confidence=0.9, model={"a": [1, None]}, symbol="x")) == {
        "symbol": "AAPL",
        "predicted_price": 1.5,
        "confidence": 0.9,
        "model": {"a": [1, None]},
        "predicted_at": ISO,
        "freshness": {"age_seconds": 10.0, "source": "cache", "stale": False},
    }


def test_hash_is_told_as_json_is() -> None:
    kept = {
        b"ticker": b"AAPL",
        b"predicted_price": b"185.42",
        b"confidence": b"0.90",
        b"trained": b"true",
        b"bands": b"[1,2]",
        b"note": b"up",
        b"model_version": b"1.10",
        b"predicted_at": ISO.encode(),
    }
    found = told(read("AAPL", kept))
    del found["freshness"]
    assert found == {
        "symbol": "AAPL",
        "predicted_price": 185.42,
        "confidence": 0.9,
        "trained": True,
        "bands": [1, 2],
        "note": "up",
        "model_version": "1.10",
        "predicted_at": ISO,
    }


def test_symbol_comes_first_and_another_name_for_it_is_left_out() -> None:
    found = told(of(ticker="AAPL", symbol="AAPL"))
    assert list(found)[:2] == ["symbol", "predicted_price"]
    assert "ticker" not in found


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no JSON",
        b"[1]",
        b"null",
        b"1.5",
        b"{}",
        b'{"predicted_price": null}',
        b'{"predicted_price": true}',
        b'{"predicted_price": "much"}',
        b'{"predicted_price": "nan"}',
        b'{"predicted_price": "inf"}',
        b'{"predicted_price": [1]}',
        b'{"predicted_price": 1, "deep": ' + b"[" * 500 + b"]" * 500 + b"}",
        b"\xff\xfe",
    ],
)
def test_what_has_no_price_is_none(data: bytes) -> None:
    with pytest.raises(Malformed):
        read("AAPL", data)


def test_hash_that_is_no_text_is_none() -> None:
    with pytest.raises(Malformed):
        read("AAPL", {b"predicted_price": b"1", b"note": b"\xff"})


def test_price_may_be_a_number_in_text() -> None:
    assert told(of(predicted_price="12.50"))["predicted_price"] == 12.5


# ---------------------------------------------------------------------------------- times


@pytest.mark.parametrize(
    "value",
    [
        "2026-03-01T12:00:00Z",
        "2026-03-01T12:00:00",
        "2026-03-01 12:00:00",
        "2026-03-01T13:00:00+01:00",
        "2026-03-01T12:00:00.000000+00:00",
        AT,
        int(AT),
        int(AT * 1e3),
        int(AT * 1e6),
        int(AT) * 10**9,
        str(int(AT)),
    ],
)
def test_time_is_read_in_any_form(value: object) -> None:
    assert moment(value) == AT


@pytest.mark.parametrize(
    "value",
    ["", "yesterday", "infinity", "nan", True, None, [1], {}, 1e300, "9" * 400],
)
def test_what_is_no_time_is_none(value: object) -> None:
    assert moment(value) is None


@given(st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_time_comes_out_as_it_went_in(at: datetime) -> None:
    found = told(of(predicted_at=at.isoformat()))["predicted_at"]
    assert datetime.fromisoformat(found) == at
    assert found.endswith("Z")


def test_first_name_of_a_time_counts_and_the_others_stay() -> None:
    found = told(of(created_at="2020-01-01T00:00:00Z", timestamp=int(AT)))
    assert found["predicted_at"] == ISO
    assert found["created_at"] == "2020-01-01T00:00:00Z"
    assert found["timestamp"] == int(AT)


def test_empty_name_of_a_time_gives_way() -> None:
    assert told(of(predicted_at=None, timestamp=int(AT)))["predicted_at"] == ISO


def test_without_a_time_nothing_is_said_of_its_age() -> None:
    found = told(of(predicted_at="soon"))
    assert found["predicted_at"] is None
    assert found["freshness"] == {"age_seconds": None, "source": "cache", "stale": None}


# ------------------------------------------------------------------------------ freshness


@pytest.mark.parametrize(("age", "stale"), [(0, False), (60, False), (60.5, True), (1e6, True)])
def test_stale_is_what_is_older_than_it_may_be(age: float, stale: bool) -> None:
    fresh = told(of(predicted_at=ISO), now=AT + age)["freshness"]
    assert fresh == {"age_seconds": age, "source": "cache", "stale": stale}


def test_what_is_of_tomorrow_is_new() -> None:
    fresh = told(of(predicted_at=ISO), now=AT - 3600)["freshness"]
    assert fresh == {"age_seconds": 0.0, "source": "cache", "stale": False}


def test_freshness_of_whoever_wrote_it_is_not_told() -> None:
    assert told(of(predicted_at=ISO, freshness="good"))["freshness"]["source"] == "cache"


# ------------------------------------------------------------------------------- features


def with_features(prediction: Prediction, features: bytes) -> Any:
    found = Found(prediction, b"database", features)
    return orjson.loads(shown(found, AT, 60, with_features=True))


def test_features_are_told_beside_it() -> None:
    found = with_features(of(predicted_at=ISO), b'{"rsi":[1]}')
    assert found["features"] == {"rsi": [1]}
    assert found["freshness"]["source"] == "database"


def test_features_that_are_not_there_are_null() -> None:
    assert with_features(of(), b"")["features"] is None


def test_predictions_own_features_give_way_to_those_that_are_asked_for() -> None:
    own = of(features=[1])
    assert told(own)["features"] == [1]
    text = shown(Found(own, b"cache", b'{"a":1}'), AT, 60, with_features=True)
    assert text.count(b'"features"') == 1
    assert orjson.loads(text)["features"] == {"a": 1}


@pytest.mark.parametrize(
    ("kept", "features"),
    [
        (None, b""),
        (b'{"a": 1}', b'{"a":1}'),
        ({b"a": b"1", b"b": b"x"}, b'{"a":1,"b":"x"}'),
        (b"[1]", b""),
        (b"{", b""),
        (b'{"deep": ' + b"[" * 500 + b"]" * 500 + b"}", b""),
    ],
)
def test_features_are_an_object_or_a_hash(kept: Any, features: bytes) -> None:
    assert json_of(kept) == features


# ------------------------------------------------------------------------------------ tags


def test_tag_is_of_the_predictions_time() -> None:
    one = Found(of(predicted_at=ISO), b"cache")
    same = Found(of(predicted_at=int(AT), note="other"), b"database")
    other = Found(of(predicted_at=AT + 0.001), b"cache")
    assert tag(one) == tag(same) != tag(other)
    assert tag(one).startswith(b'W/"')
    assert tag(one).endswith(b'"')


def test_without_a_time_the_tag_is_of_all_of_it() -> None:
    assert tag(Found(of(), b"cache")) == tag(Found(of(), b"database"))
    assert tag(Found(of(), b"cache")) != tag(Found(of(note=1), b"cache"))


def test_tag_tells_other_features() -> None:
    prediction = of(predicted_at=ISO)
    tags = {tag(Found(prediction, b"cache", features)) for features in (b"", b"{}", b'{"a":1}')}
    assert len(tags) == 3
