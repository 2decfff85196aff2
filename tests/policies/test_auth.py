"""Which way decides, what it takes to be let in, and what a refusal says."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from gateway.errors import Forbidden, RateLimited, StoreDown, Unauthorized
from gateway.exchange import Exchange, Principal
from gateway.policies.auth import Auth
from tests.http1.reading import exchange

ANN = Principal("jwt", "ann", scopes=frozenset({"read", "write"}))


class Finds:
    """A way that finds what the test says."""

    def __init__(self, found: Any, challenge: bytes = b'Bearer realm="gateway"') -> None:
        self.challenge = challenge
        self._found = found
        self.asked = 0

    def authenticate(self, exchange: Exchange) -> Principal | Coroutine[Any, Any, Principal] | None:
        self.asked += 1
        if isinstance(self._found, Exception):
            raise self._found
        return self._found  # type: ignore[no-any-return]


class Scene:
    def __init__(self, *ways: Finds, scopes: tuple[str, ...] = ()) -> None:
        self.counted: list[str] = []
        self.told: list[str] = []
        self.exchange = exchange()
        self.accepted: list[str] = []
        self.auth = Auth(
            ways,
            frozenset(scopes),
            failed=self.counted.append,
            refused=lambda exchange, why: self.told.append(why),
            accepted=self.accepted.append,
        )

    def enter(self) -> Any:
        return self.auth.enter(self.exchange)


async def later(found: Principal | Exception) -> Principal:
    await asyncio.sleep(0)
    if isinstance(found, Exception):
        raise found
    return found


def test_known_client_is_let_in_without_waiting() -> None:
    scene = Scene(Finds(ANN))
    assert scene.enter() is None
    assert scene.exchange.principal is ANN
    assert scene.counted == scene.told == []
    assert scene.accepted == [ANN.kind]


def test_first_way_that_finds_something_decides() -> None:
    first, second, third = Finds(None), Finds(ANN), Finds(Unauthorized())
    scene = Scene(first, second, third)
    scene.enter()
    assert (first.asked, second.asked, third.asked) == (1, 1, 0)


def test_bad_credential_is_not_made_good_by_another() -> None:
    second = Finds(ANN)
    scene = Scene(Finds(Unauthorized("no")), second)
    with pytest.raises(Unauthorized):
        scene.enter()
    assert second.asked == 0
    assert scene.exchange.principal is None


def test_request_without_credentials_gets_every_challenge_once() -> None:
    scene = Scene(Finds(None, b"ApiKey x=y"), Finds(None), Finds(None))
    with pytest.raises(Unauthorized) as caught:
        scene.enter()
    assert caught.value.fields == (
        b"WWW-Authenticate: ApiKey x=y",
        b'WWW-Authenticate: Bearer realm="gateway"',
    )
    assert scene.counted == ["missing"]
    assert len(scene.told) == 1
    assert scene.accepted == []


def test_refusal_keeps_a_challenge_of_its_own() -> None:
    own = (b'WWW-Authenticate: Bearer error="invalid_token"',)
    scene = Scene(Finds(Unauthorized("no", fields=own)))
    with pytest.raises(Unauthorized) as caught:
        scene.enter()
    assert caught.value.fields == own
    assert (scene.counted, scene.told) == ([], ["no"])


def test_refusal_without_a_challenge_gets_one() -> None:
    scene = Scene(Finds(Unauthorized("no")))
    with pytest.raises(Unauthorized) as caught:
        scene.enter()
    assert caught.value.fields == (b'WWW-Authenticate: Bearer realm="gateway"',)


async def test_verdict_that_takes_time_is_waited_for() -> None:
    scene = Scene(Finds(later(ANN)))
    await scene.enter()
    assert scene.exchange.principal is ANN


async def test_refusal_that_takes_time_is_told_as_well() -> None:
    scene = Scene(Finds(later(Unauthorized("no"))))
    with pytest.raises(Unauthorized) as caught:
        await scene.enter()
    assert caught.value.fields
    assert scene.told == ["no"]


async def test_lost_store_is_no_refusal() -> None:
    scene = Scene(Finds(later(StoreDown())))
    with pytest.raises(StoreDown):
        await scene.enter()
    assert scene.counted == scene.told == []


@pytest.mark.parametrize("scopes", [("read",), ("read", "write")])
def test_client_that_has_all_scopes_is_let_in(scopes: tuple[str, ...]) -> None:
    assert Scene(Finds(ANN), scopes=scopes).enter() is None


@pytest.mark.parametrize("scopes", [("admin",), ("admin", "read"), ("Read",)])
def test_client_that_lacks_a_scope_is_forbidden(scopes: tuple[str, ...]) -> None:
    scene = Scene(Finds(ANN), scopes=scopes)
    with pytest.raises(Forbidden) as caught:
        scene.enter()
    wanted = " ".join(sorted(scopes)).encode()
    (line,) = caught.value.fields
    assert b'error="insufficient_scope"' in line
    assert b'scope="%b"' % wanted in line
    assert scene.counted == ["scope"]
    assert len(scene.told) == 1


async def test_scope_is_asked_of_whoever_takes_time_to_know() -> None:
    scene = Scene(Finds(later(ANN)), scopes=("admin",))
    with pytest.raises(Forbidden):
        await scene.enter()


# ---------------------------------------------------------------------------------- strangers


class Limits:
    """Says of those who are not known what the test says."""

    def __init__(self, verdict: Any) -> None:
        self._verdict = verdict

    def enter(self, exchange: Exchange) -> Any:
        if isinstance(self._verdict, Exception):
            raise self._verdict
        return self._verdict


async def limited(error: Exception | None = None) -> None:
    await asyncio.sleep(0)
    if error is not None:
        raise error


def stranger(verdict: Any, found: Any = None) -> Auth:
    return Auth(
        [Finds(found)],
        frozenset(),
        failed=lambda reason: None,
        refused=lambda exchange, why: None,
        strangers=Limits(verdict),
    )


def test_limit_is_not_asked_about_who_is_known() -> None:
    assert stranger(RateLimited(), ANN).enter(exchange()) is None


@pytest.mark.parametrize("found", [None, Unauthorized("no")])
async def test_stranger_within_the_limit_is_refused_as_ever(found: Any) -> None:
    with pytest.raises(Unauthorized):
        stranger(None, found).enter(exchange())
    with pytest.raises(Unauthorized):
        await stranger(limited(), found).enter(exchange())


@pytest.mark.parametrize("found", [None, Unauthorized("no")])
async def test_stranger_beyond_the_limit_is_told_that(found: Any) -> None:
    with pytest.raises(RateLimited):
        stranger(RateLimited(), found).enter(exchange())
    with pytest.raises(RateLimited):
        await stranger(limited(RateLimited()), found).enter(exchange())


async def test_stranger_who_took_time_is_counted_as_well() -> None:
    with pytest.raises(Unauthorized):
        await stranger(None, later(Unauthorized("no"))).enter(exchange())
    with pytest.raises(Unauthorized):
        await stranger(limited(), later(Unauthorized("no"))).enter(exchange())
    with pytest.raises(RateLimited):
        await stranger(limited(RateLimited()), later(Unauthorized("no"))).enter(exchange())


# ------------------------------------------------------------- whoever is connected for long


@pytest.mark.parametrize(
    ("found", "scopes", "still"),
    [
        (ANN, (), True),
        (ANN, ("no-such-scope",), False),
        (None, (), False),
        (Unauthorized(), (), False),
    ],
)
async def test_who_is_connected_is_asked_for_again(
    found: Principal | Exception | None, scopes: tuple[str, ...], still: bool
) -> None:
    scene = Scene(Finds(found), scopes=scopes)
    assert scene.auth.still(scene.exchange) is still
    if found is not None:
        verdict = Scene(Finds(later(found)), scopes=scopes).auth.still(scene.exchange)
        assert not isinstance(verdict, bool)
        assert await verdict is still
    assert scene.counted == scene.told == scene.accepted == []
