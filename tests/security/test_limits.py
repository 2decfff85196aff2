"""Ways around limits: other addresses, other spellings, other connections, other methods."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from gateway import apikeys
from tests.e2e.caching import answer, asking, received
from tests.e2e.stage import field
from tests.security.fortress import (
    APP,
    PUBLIC,
    STATIC,
    Fortress,
    bearer,
    fortress,
    key_line,
    minted,
)

PROXIES = {"trusted_proxies": ["127.0.0.0/8", "10.0.0.0/8", "2001:db8:ffff::/48"]}


async def statuses(
    made: Fortress, *asked: tuple[bytes, ...], path: bytes = b"/few/x"
) -> Counter[int]:
    """What these requests get, all at once and each on a connection of its own."""
    return Counter(await asyncio.gather(*(made.status(*lines, path=path) for lines in asked)))


def spoofs(number: int) -> list[tuple[bytes, ...]]:
    address = b"198.51.100.%d" % number
    return [
        (b"X-Forwarded-For: " + address,),
        (b"X-Forwarded-For: " + address, b"X-Forwarded-For: 127.0.0.1"),
        (b"X-Forwarded-For: 127.0.0.1, " + address,),
        (b"X_Forwarded_For: " + address,),
        (b"Forwarded: for=" + address,),
        (b"Forwarded: for=\"[2001:db8::%d]\"" % number,),
        (b"X-Real-IP: " + address,),
        (b"X-Client-IP: " + address, b"True-Client-IP: " + address),
        (b"X-Cluster-Client-IP: " + address, b"CF-Connecting-IP: " + address),
        (b"X-Forwarded: for=" + address, b"X-Originating-IP: " + address, b"Via: 1.1 " + address),
    ]  # fmt: skip


async def test_client_that_is_not_trusted_is_who_its_connection_says(
    either: dict[str, str],
) -> None:
    async with fortress(either) as made:
        asked = [lines for number in range(2) for lines in spoofs(number)]
        assert await statuses(made, *asked) == {200: 3, 429: len(asked) - 3}
        for head in made.went_up():
            assert field(head, b"x-forwarded-for") == b"127.0.0.1"
            for told in (b"X-Real-IP", b"X_Forwarded", b"\r\nForwarded", b"\r\nX-Forwarded:"):
                assert told not in head
    # Nor does it get by a list of those who may.
    few = {"prefix": "/few", "target_url": "http://127.0.0.1:9"}
    async with fortress(either, routes=[few | {"access": {"allow": ["198.51.100.0/24"]}}]) as made:
        for lines in spoofs(1):
            assert await made.status(*lines, path=b"/few/x") == 403


CHAINS = (
    (b"X-Forwarded-For: %b, 203.0.113.9",),
    (b"X-Forwarded-For: %b, 203.0.113.9, 10.1.1.1",),
    (b"X-Forwarded-For: %b,203.0.113.9 ,10.1.1.1,127.0.0.9",),
    (b"X-Forwarded-For: %b", b"X-Forwarded-For: 203.0.113.9"),
    (b"X-Forwarded-For: %b, 203.0.113.9", b"x-forwarded-for: 10.1.1.1"),
    (b"X-Forwarded-For: %b, ::ffff:203.0.113.9, 2001:db8:ffff::1",),
    (b"X-Forwarded-For: 203.0.113.9", b"X-Real-IP: %b"),
    (b"X-Forwarded-For: 203.0.113.9", b"Forwarded: for=%b"),
    (b"X-Forwarded-For: 203.0.113.9", b"X_Forwarded_For: %b"),
    (b"X-Forwarded-For: %b, x, 203.0.113.9",),
    (b"X-Forwarded-For: 203.0.113.9",),
)


async def test_behind_trusted_proxies_the_rightmost_stranger_is_the_client(
    either: dict[str, str],
) -> None:
    async with fortress(either, **PROXIES) as made:
        asked = [
            tuple(line.replace(b"%b", b"198.51.100.%d" % number) for line in lines)
            for number in range(3)
            for lines in CHAINS
        ]
        assert await statuses(made, *asked) == {200: 3, 429: len(asked) - 3}
        # What is no address ends the chain: the proxy itself is who is known.
        odd = (b"unknown", b"1.2.3.4:80", b"[::1]", b"", b"1.2.3", b"fe80::1%eth0", b"0x7f.1",
               b"01.2.3.4", b"1.2.3.4 5.6.7.8", b"\xff", b"localhost")  # fmt: skip
        chains = [
            (b"X-Forwarded-For: 198.51.100.%d, %b" % (n, each),) for n in (1, 2) for each in odd
        ]
        assert await statuses(made, *chains) == {200: 3, 429: len(chains) - 3}
        # Whole networks of IPv6 are one client, in whatever spelling.
        six = (b"2001:db8::1", b"2001:DB8:0::2", b"2001:0db8:0000:0000::3", b"2001:db8::ffff:4",
               b"2001:db8:0:0:1:2:3:4")  # fmt: skip
        assert await statuses(made, *[(b"X-Forwarded-For: " + each,) for each in six]) == {
            200: 3,
            429: 2,
        }


async def test_credential_in_another_spelling_is_counted_as_the_same(
    either: dict[str, str],
) -> None:
    async with fortress(either) as made:
        key = (await made.key()).encode()
        path = b"/guess/x"
        spelled = [
            (b"X-API-Key: " + key,),
            (b"x-api-key:" + key,),
            (b"X-API-KEY: \t" + key + b" ",),
            (b"X-API-Key: " + key, b"X-Forwarded-For: 198.51.100.1"),
            (b"X-API-Key: " + key, bearer(minted())),
        ]
        assert await statuses(made, *spelled, path=path) == {200: 3, 429: 2}
        tokens = [
            bearer(minted(name, jti=n)) for name in ("RS256", "EdDSA", "ES256") for n in (1, 2)
        ]
        lower = [
            line.replace(b"Authorization: Bearer", b"authorization: bearer ") for line in tokens
        ]
        users = [(line,) for line in (*tokens, *lower)]
        assert await statuses(made, *users, path=path) == {200: 3, 429: len(users) - 3}
        # Another case is another key, which there is not.
        assert await made.status(key_line(key.swapcase().decode()), path=path) == 401
        # And a tier that is claimed in other words is no better one.
        tiers = (
            "ENTERPRISE",
            "enterprise ",
            "Enterprise",
            "enterprise\0",
            ["enterprise"],
            None,
            "x",
        )
        for number, tier in enumerate(tiers):
            line = bearer(minted(sub=f"user {number}", tier=tier))
            _, head, _ = await made.get(line)
            assert field(head, b"x-ratelimit-limit") in (b"100", b"1000")
        _, head, _ = await made.get(bearer(minted(sub="rich", tier="enterprise")))
        assert field(head, b"x-ratelimit-limit") is None


async def test_guesses_are_limited_whatever_is_guessed(either: dict[str, str]) -> None:
    """Without a credential that is good, the address is who asks."""
    async with fortress(either) as made:
        unknown = [(key_line(apikeys.make(lambda letters: letters[n])),) for n in range(4)]  # noqa: B023
        guesses = [(key_line("x"),), (bearer("y" * 20),), (), (bearer(minted()[:-4]),), *unknown]
        assert await statuses(made, *guesses, path=b"/guess/x") == {401: 3, 429: len(guesses) - 3}
        status, head, _ = await made.get(path=b"/guess/x")
        assert (status, field(head, b"x-ratelimit-remaining")) == (429, b"0")
        assert int(field(head, b"retry-after") or 0) > 60
        # Who is good is not kept out by those who guess from the same address.
        assert await made.status(bearer(STATIC), path=b"/guess/x") == 200
        assert len(made.went_up()) == 1
    async with fortress(either, tiers={"anonymous": "2/hour"}) as made:
        guesses = [(key_line(f"guess {n}"),) for n in range(6)]
        found = await statuses(made, *guesses, path=b"/api/x")
        assert found == {401: 2, 429: 4}


async def test_attempts_to_sign_in_are_limited_in_every_spelling(either: dict[str, str]) -> None:
    rates = {"login": {"per_account": "3/hour", "per_address": "1000/hour"}}
    names = ("ann", "ANN", "Ann", "aNN")
    async with fortress(either, auth=rates, routes=[], **PROXIES) as made:
        found = []
        for number in range(2):
            for name in names:
                body = {"username": name, "password": "wrong-one"}
                line = b"X-Forwarded-For: 198.51.100.%d" % number
                found.append((await made.post("/auth/login", body, line))[0])
        assert found == [401] * 3 + [429] * 5
        # The kelvin sign is a k in lower case: an account's as well as its limit's.
        odd = ["ben\u212a", "benk", "BENK", "benk"]
        asked = [await made.post("/auth/login", {"username": n, "password": "x"}) for n in odd]
        assert [status for status, _, _ in asked] == [401, 401, 401, 429]
    rates = {"login": {"per_account": "1000/hour", "per_address": "2/hour"}}
    async with fortress(either, auth=rates, routes=[]) as made:
        paths = ["/auth/refresh", "/auth/logout"] * 2  # one allowance for both
        sent = [await made.post(path, {"refresh_token": "gwr_x"}) for path in paths]
        assert [status for status, _, _ in sent] == [401, 204, 429, 429]
        malformed = [await made.post("/auth/login", b"{") for _ in range(3)]
        assert [status for status, _, _ in malformed] == [400, 400, 429]


METHODS = (b"HEAD", b"OPTIONS", b"POST", b"DELETE", b"PROPFIND", b"GET")


async def test_every_method_and_every_answer_counts(either: dict[str, str]) -> None:
    async with fortress(either, **PROXIES) as made:

        def whose(number: int) -> bytes:
            return b"X-Forwarded-For: 198.51.100.%d" % number

        found = [await made.status(whose(1), path=b"/few/x", method=method) for method in METHODS]
        assert found == [200, 200, 200, 429, 429, 429]
        made.went_up()
        made.origin.says(PUBLIC)
        found = [await made.status(whose(2), path=b"/few/cached") for _ in range(5)]
        assert (found, made.origin.asked) == ([200, 200, 200, 429, 429], 1)  # a hit is a request
        _, head, _ = await made.get(whose(2), path=b"/few/cached", method=b"HEAD")
        assert field(head, b"age") is None
        made.origin.says(answer(status=b"404 Not Found"), answer(status=b"500 x"), b"")
        found = [await made.status(whose(3), path=b"/few/%d" % n) for n in range(5)]
        assert found == [404, 500, 502, 429, 429]


async def test_preflights_take_nothing_and_give_nothing(either: dict[str, str]) -> None:
    """A browser's question costs its page nothing; one that is none counts like any request."""
    async with fortress(either) as made:
        asks = b"Access-Control-Request-Method: GET"
        origin = b"Origin: " + APP.encode()

        async def options(*lines: bytes) -> int:
            return await made.status(*lines, path=b"/few/x", method=b"OPTIONS")

        assert [await options(origin, asks) for _ in range(6)] == [204] * 6
        assert [await options(b"Origin: https://evil.test", asks) for _ in range(6)] == [403] * 6
        assert made.went_up() == []
        assert [await options(*line) for line in ((), (asks,), (origin,), (origin,))] == [
            200,
            200,
            200,
            429,
        ]


async def test_pipelines_and_connections_share_what_there_is(either: dict[str, str]) -> None:
    async with fortress(either) as made:
        key = key_line(await made.key())
        await made.status(key, path=b"/plain/x")
        methods = (b"GET", b"HEAD", b"POST", b"OPTIONS") * 3
        data = b"".join(asking(key, path=b"/guess/x", method=method) for method in methods)
        clients = [await made.stage.client() for _ in range(20)]
        await asyncio.gather(*(client.send(data) for client in clients))

        async def all_of(number: int) -> list[int]:
            return [(await received(clients[number], method))[0] for method in methods]

        found = Counter(
            status for each in await asyncio.gather(*map(all_of, range(20))) for status in each
        )
        assert found == {200: 3, 429: 237}
        assert len(made.went_up()) == 4


SPELLED = (
    b"/few/x", b"/few", b"/few/", b"/few/%78", b"/few/x;y", b"/few/x?z", b"/few//x", b"/few/./x",
    b"/few/%2e/x",
)  # fmt: skip


@pytest.mark.parametrize("path", SPELLED)
async def test_spelling_of_a_path_is_no_other_limit(path: bytes, embedded: dict[str, str]) -> None:
    async with fortress(embedded) as made:
        for _ in range(3):
            await made.get(path=b"/few/x")
        assert await made.status(path=path) in (429, 400)
        whole = b"GET http://gateway.test" + path + b" HTTP/1.1\r\nHost: gateway.test\r\n\r\n"
        assert (await made.ask(whole))[0] in (429, 400)
        other = b"GET " + path + b" HTTP/1.1\r\nHost: OTHER.test:81\r\n\r\n"
        assert (await made.ask(other))[0] in (429, 400)


async def test_refusal_is_not_what_the_cache_gives_others(either: dict[str, str]) -> None:
    async with fortress(either, **PROXIES) as made:
        made.origin.says(PUBLIC)
        poor, rich = b"X-Forwarded-For: 198.51.100.1", b"X-Forwarded-For: 198.51.100.2"
        found = [await made.status(poor, path=b"/few/x") for _ in range(4)]
        assert found == [200, 200, 200, 429]
        status, head, _ = await made.get(rich, path=b"/few/x")
        assert (status, field(head, b"x-ratelimit-remaining")) == (200, b"2")
        assert field(head, b"retry-after") is None
