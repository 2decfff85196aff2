"""What is one client's never reaches another through the cache."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.caching import answer, asking, not_modified, received
from tests.e2e.life import until
from tests.e2e.stage import Connection, field, fields
from tests.security.fortress import (
    LONG,
    STATIC,
    Fortress,
    bearer,
    bodies,
    fortress,
    key_line,
    minted,
    numbered,
)

PRIVATE: tuple[tuple[bytes, ...], ...] = (
    (b"Cache-Control: private, max-age=60",),
    (b"Cache-Control: max-age=60, PRIVATE",),
    (b"Cache-Control: private=\"",),
    (b"Cache-Control: no-store, max-age=60",),
    (b"Cache-Control: max-age=60", b"Cache-Control: no-store"),
    (b"Cache-Control: max-age=60,no-store=x",),
    (b"Cache-Control: public, no-store",),
    (LONG, b"Set-Cookie: session=ann"),
    (b"Cache-Control: public, max-age=60", b"set-cookie: session=ann"),
    (LONG, b"Vary: *"),
    (LONG, b"Vary: Accept, *"),
    (LONG, b"Vary: Accept", b"Vary: *"),
    (LONG, b"Vary: X-Forwarded-For"),
    (LONG, b"Vary: Forwarded, x-request-ID"),
)  # fmt: skip


@pytest.mark.parametrize("lines", PRIVATE, ids=repr)
async def test_private_answer_is_given_once(
    lines: tuple[bytes, ...], embedded: dict[str, str]
) -> None:
    async with fortress(embedded) as made:
        made.origin.say = numbered(*lines)
        found = await bodies(made, (), (), (b"Accept: text/plain",))
        assert found == [b"answer 1", b"answer 2", b"answer 3"]
        together = await asyncio.gather(*(made.get(path=b"/open/y") for _ in range(4)))
        assert len({body for _, _, body in together}) == 4
        assert len(made.went_up()) == 7


async def test_answers_to_credentials_are_not_shared(either: dict[str, str]) -> None:
    """Unless they say that they may; and never by who asks something else."""
    async with fortress(either) as made:
        ann, ben = await made.key(), await made.key()
        asked = [
            (key_line(ann),), (key_line(ben),), (bearer(minted()),), (bearer(STATIC),),
            (bearer(minted(sub="ben")),),
        ]  # fmt: skip
        made.origin.say = numbered(LONG)
        assert len(set(await bodies(made, *asked, *asked, path=b"/api/x"))) == 10
        # A route where nobody has to say who he is: the service may look at it all the same.
        for number, line in enumerate((bearer("x" * 20), b"Authorization: Basic eDp5",
                                       key_line("theirs"), b"x-api-key: ours")):  # fmt: skip
            path = b"/open/%d" % number
            found = await bodies(made, (line,), (line,), (), (), path=path)
            assert found[0] != found[1] != found[2] == found[3]
        together = await asyncio.gather(*(made.get(*lines, path=b"/api/y") for lines in asked * 3))
        assert len({body for _, _, body in together}) == 15


async def test_claims_choose_the_answer_as_they_went_up(either: dict[str, str]) -> None:
    """`Vary: X-User-Id` speaks of what the gateway wrote, whatever the client's own fields say."""
    async with fortress(either) as made:
        vary = (b"Cache-Control: public, max-age=60", b"Vary: X-User-Id")

        def say(head: bytes) -> bytes:
            return answer(*vary, body=b"for " + (field(head, b"x-user-id") or b"nobody"))

        made.origin.say = say
        ann, ben = bearer(minted()), bearer(minted(sub="ben"))
        for lines, who in (
            ((ann,), b"for ann"),
            ((ben,), b"for ben"),
            ((ben, b"X-User-Id: ann"), b"for ben"),
            ((ann, b"X-User-Id: ben"), b"for ann"),
            ((bearer(STATIC), b"X-User-Id: ann"), b"for nobody"),
            ((bearer(STATIC), b"X_User_Id: ann"), b"for nobody"),
            ((bearer(STATIC), b"x-user-id: ben", b"Connection: X-User-Id"), b"for nobody"),
            ((key_line(await made.key()),), b"for nobody"),
        ):
            for _ in range(2):
                assert (await made.get(*lines))[2] == who
        assert len(made.went_up()) == 3


@pytest.mark.parametrize("line", [LONG, b"Cache-Control: private"])
async def test_who_waits_for_anothers_answer_does_not_inherit_it(
    line: bytes, embedded: dict[str, str]
) -> None:
    """Ann asks and leaves while Ben waits for the same: her answer is still not for him."""
    async with fortress(embedded) as made:
        go = asyncio.Event()

        async def say(head: bytes) -> bytes:
            await go.wait()
            return answer(line, body=b"for " + (field(head, b"x-user-id") or b"nobody"))

        made.origin.say = say
        ann, ben = await two_who_wait(made)
        ann.reset()
        await waits(made, 1)
        go.set()
        assert (await received(ben))[2] == b"for ben"


async def test_what_an_origin_says_meanwhile_is_for_who_asked(embedded: dict[str, str]) -> None:
    """An interim answer comes before it is known who may have the final one."""
    async with fortress(embedded) as made:
        go = asyncio.Event()

        async def say(head: bytes) -> bytes:
            await go.wait()
            who = field(head, b"x-user-id") or b"nobody"
            hints = b"HTTP/1.1 103 Early Hints\r\nLink: </%b>; rel=preload\r\n\r\n" % who
            return hints + answer(b"Cache-Control: private", body=b"for " + who)

        made.origin.say = say
        ann, ben = await two_who_wait(made)
        go.set()
        for client, who in ((ann, b"ann"), (ben, b"ben")):
            assert b"Link: </%b>" % who in await client.head()
            assert (await received(client))[2] == b"for " + who


async def two_who_wait(made: Fortress) -> list[Connection]:
    """Ann, who asked first, and Ben, for whom nobody asks: their requests are one upstream."""
    clients = []
    for name in ("ann", "ben"):
        client = await made.stage.client()
        await client.send(asking(bearer(minted(sub=name))))
        clients.append(client)
        await waits(made, len(clients))
    await until(lambda: made.origin.asked == 1)
    return clients


async def waits(made: Fortress, count: int) -> None:
    """When so many requests are under way."""
    connections = made.stage.gateway.front.connections
    await until(lambda: sum(each.exchange is not None for each in connections) == count)


async def test_cookie_of_a_304_is_not_kept(either: dict[str, str]) -> None:
    async with fortress(either) as made:
        tag = b'ETag: "1"'
        made.origin.says(
            answer(b"Cache-Control: max-age=0", tag),
            not_modified(LONG, tag, b"Set-Cookie: session=ann"),
        )
        assert (await made.get(path=b"/open/x"))[0] == 200
        _, renewed, _ = await made.get(path=b"/open/x")
        assert b"session=ann" in renewed  # whose asking it answers
        for _ in range(2):
            status, head, body = await made.get(path=b"/open/x")
            assert (status, body) == (200, b"body")
            assert b"session" not in head
        assert made.origin.asked == 2


async def test_304_that_turns_an_answer_private_is_one_clients(embedded: dict[str, str]) -> None:
    async with fortress(embedded) as made:
        tag, go = b'ETag: "1"', asyncio.Event()
        made.origin.says(answer(b"Cache-Control: max-age=0", tag))
        await made.get(path=b"/open/x")
        said = 0

        async def say(head: bytes) -> bytes:
            nonlocal said
            await go.wait()
            said += 1
            return (
                not_modified(b"Cache-Control: private", tag, b"X-Whose: %d" % said)
                if (b"If-None-Match" in head)
                else answer(b"Cache-Control: private", b"X-Whose: %d" % said)
            )

        made.origin.say = say
        clients = [await made.stage.client() for _ in range(3)]
        for client in clients:
            await client.send(asking(path=b"/open/x"))
        await made.get(path=b"/health/live")
        go.set()
        whose = {field((await received(client))[1], b"x-whose") for client in clients}
        assert whose == {b"1", b"2", b"3"}


async def test_limits_and_names_in_an_answer_are_of_who_asks(embedded: dict[str, str]) -> None:
    """A stored answer carries nothing that a policy wrote for somebody else."""
    async with fortress(embedded) as made:
        made.origin.says(
            answer(b"Cache-Control: public, max-age=60", b"X-RateLimit-Remaining: 7",
                   b"RateLimit: x", b"Access-Control-Allow-Origin: *")
        )  # fmt: skip
        ann, ben = await made.key("pro"), await made.key("free")
        left = []
        for key in (ann, ben, ann, ben):
            _, head, _ = await made.get(key_line(key), b"X-Request-ID: " + key[-6:].encode())
            assert field(head, b"x-request-id") == key[-6:].encode()
            assert field(head, b"access-control-allow-origin") is None
            left.append((field(head, b"x-ratelimit-limit"), field(head, b"x-ratelimit-remaining")))
        assert left == [(b"1000", b"999"), (b"100", b"99"), (b"1000", b"998"), (b"100", b"98")]
        assert made.origin.asked == 1


async def test_errors_head_and_ranges_are_not_taken_for_the_whole(either: dict[str, str]) -> None:
    async with fortress(either) as made:
        made.origin.say = numbered(LONG, status=b"500 Internal Server Error")
        assert len(set(await bodies(made, (), (), path=b"/open/500"))) == 1  # it said that it may
        for status in (b"400 x", b"401 x", b"403 x", b"413 x", b"431 x", b"502 x", b"503 x"):
            path = b"/open/" + status[:3]
            made.origin.say = numbered(b"X: y", status=status)
            assert len(set(await bodies(made, (), (), path=path))) == 2, status
        made.origin.says(answer(LONG, b"Content-Range: bytes 0-3/9", status=b"206 Partial Content"))
        await made.get(b"Range: bytes=0-3", path=b"/open/range")
        made.origin.says(answer(LONG, body=b"the whole"))
        assert (await made.get(path=b"/open/range"))[2] == b"the whole"
        made.origin.says(
            b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 9\r\n\r\n"
        )
        await made.get(path=b"/open/head", method=b"HEAD")
        made.origin.says(answer(LONG, body=b"the whole"))
        assert (await made.get(path=b"/open/head"))[2] == b"the whole"
        # What was cut off is not kept for whole, nor is what only the connection's end ended.
        made.origin.say = lambda head: b""
        assert (await made.get(path=b"/open/cut"))[0] == 502
        made.origin.says(answer(LONG, body=b"the whole"))
        assert (await made.get(path=b"/open/cut"))[2] == b"the whole"


async def test_compressed_answer_is_for_who_takes_it(either: dict[str, str]) -> None:
    async with fortress(either) as made:
        text = b"a text that is repeated, " * 100
        made.origin.says(
            answer(b"Cache-Control: public, max-age=60", b"Content-Type: text/plain",
                   b'ETag: "1"', body=text)
        )  # fmt: skip
        who = bearer(STATIC)
        for coding in (b"gzip", b"identity", b"br", b"zstd", b"gzip", b"br;q=0", b"*;q=0"):
            client = await made.stage.client()
            await client.send(asking(who, b"Accept-Encoding: " + coding))
            head = await client.head()
            known = coding in (b"gzip", b"br", b"zstd")
            assert field(head, b"content-encoding") == (coding if known else None)
            assert b"accept-encoding" in b",".join(
                value.lower() for name, value in fields(head) if name == b"vary"
            )
            if not known:
                assert await client.exactly(len(text)) == text
        assert (await made.get(who))[2] == text
        # A range of the stored is of its plain bytes.
        _, head, part = await made.get(who, b"Range: bytes=0-5", b"Accept-Encoding: gzip")
        assert (part, field(head, b"content-encoding")) == (text[:6], None)
        assert made.origin.asked == 1
