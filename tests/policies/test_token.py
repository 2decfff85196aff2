from __future__ import annotations

import hmac

import pytest

from gateway.errors import Unauthorized
from gateway.policies import token as module
from gateway.policies.token import Token
from tests.http1.reading import exchange

OLD, NEW = "old-token-of-the-tests", "new-token-of-the-tests"


@pytest.fixture
def reasons() -> list[str]:
    return []


@pytest.fixture
def policy(reasons: list[str]) -> Token:
    return Token((OLD, NEW), only=True, failed=reasons.append)


@pytest.mark.parametrize(
    "line",
    [
        f"Authorization: Bearer {OLD}",
        f"Authorization: Bearer {NEW}",
        f"authorization: bEARER   {NEW}",
    ],
)
def test_token_is_let_in(policy: Token, line: str, reasons: list[str]) -> None:
    found = policy.authenticate(exchange(line.encode()))
    assert found is not None
    assert (found.kind, found.id) == ("token", "token")
    assert reasons == []


@pytest.mark.parametrize(
    "value",
    [OLD[:-1].encode(), OLD.encode() + b"x", OLD.upper().encode(), b"\xff" * 30, b"x" * 8000],
)
def test_other_token_is_refused_with_a_challenge(
    policy: Token, value: bytes, reasons: list[str]
) -> None:
    with pytest.raises(Unauthorized) as caught:
        policy.authenticate(exchange(b"Authorization: Bearer " + value))
    assert caught.value.fields == (module.INVALID,)
    assert OLD not in str(caught.value)
    assert reasons == ["unknown_token"]


@pytest.mark.parametrize(
    "lines", [(), (b"Authorization: Basic b2xk",), (b"X-API-Key: " + OLD.encode(),)]
)
def test_request_without_a_bearer_token_is_for_others(
    policy: Token, lines: tuple[bytes, ...], reasons: list[str]
) -> None:
    assert policy.authenticate(exchange(*lines)) is None
    assert reasons == []


def test_unknown_token_is_for_others_where_there_are_such(reasons: list[str]) -> None:
    policy = Token((OLD,), only=False, failed=reasons.append)
    assert policy.authenticate(exchange(b"Authorization: Bearer e30.e30.x")) is None
    assert reasons == []


def test_every_token_is_compared_by_its_digest_in_constant_time(
    policy: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(module, "compare_digest", compare)
    policy.authenticate(exchange(f"Authorization: Bearer {OLD}".encode()))
    assert compared == [(32, 32), (32, 32)]
