"""Active health checks: a target goes out and comes back by its own word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.e2e.answering import (
    Answering,
    answering,
    body,
    eventually,
    in_front,
    request,
    started,
    status,
)
from tests.e2e.stage import PATIENCE, Connection, Stage

CHECK = {"path": "/health", "interval": 0.05, "timeout": 0.05}
CHECK |= {"healthy_after": 2, "unhealthy_after": 2}


class Checked(Answering):
    """Answers checks with `health`, and everything else with 200; counts the checks."""

    def __init__(self, name: bytes = b"ok") -> None:
        super().__init__(name)
        self.health = 200
        self.checks = 0
        self.lines = b""

    async def _answer(self, connection: Connection, served: int) -> bool:
        head = await connection.reader.readuntil(b"\r\n\r\n")
        number = 200
        if head.startswith(b"GET /health "):
            self.checks += 1
            number = self.health
        if not number:
            await asyncio.sleep(PATIENCE)
        await connection.send(
            b"HTTP/1.1 %d R\r\n%bContent-Length: %d\r\n\r\n%b"
            % (number, self.lines, len(self.name), self.name)
        )
        return True


@asynccontextmanager
async def behind(*upstreams: Checked, **table: Any) -> AsyncIterator[Stage]:
    """A gateway that checks these."""
    async with (
        started(*upstreams),
        in_front(upstreams, **{"health_check": CHECK, **table}) as scene,
    ):
        yield scene


async def test_a_target_that_says_it_is_ill_goes_out_and_comes_back() -> None:
    upstream = Checked()
    async with behind(upstream) as scene:

        async def answers(number: int) -> bool:
            return await status(scene) == number

        assert await answers(200)
        upstream.health = 500
        await eventually(lambda: answers(503))
        upstream.health = 200
        await eventually(lambda: answers(200))


async def test_one_bad_check_takes_nobody_out() -> None:
    upstream = Checked()
    async with behind(upstream, health_check={**CHECK, "unhealthy_after": 3}) as scene:
        upstream.health = 500
        await eventually(lambda: upstream.checks >= 2)
        upstream.health = 200
        seen = upstream.checks
        assert await status(scene) == 200
        await eventually(lambda: upstream.checks >= seen + 3)
        assert await status(scene) == 200


async def test_a_silent_check_is_a_bad_one() -> None:
    upstream = Checked()
    upstream.health = 0
    async with behind(upstream) as scene:

        async def is_out() -> bool:
            return await status(scene) == 503

        await eventually(is_out)


async def test_requests_go_to_the_targets_that_are_well() -> None:
    ill, well = Checked(b"ill"), Checked(b"well")
    async with behind(ill, well, balance="round_robin") as scene:

        async def only_one_answers() -> bool:
            return [await body(scene) for _ in range(4)] == [b"well"] * 4

        assert not await only_one_answers()
        ill.health = 503
        await eventually(only_one_answers)
        ill.health = 200

        async def both_answer() -> bool:
            return not await only_one_answers()

        await eventually(both_answer)


async def test_a_target_that_was_down_at_the_start_comes_in_when_it_is_up() -> None:
    upstream = Checked(b"late")
    async with behind(upstream) as scene:
        await upstream.stop()
        upstream.health = 500
        assert await status(scene) == 503
        await upstream.start(upstream.port)
        upstream.health = 200

        async def answers() -> bool:
            return await status(scene) == 200

        await eventually(answers)


async def test_the_gauge_tells_who_is_up() -> None:
    upstream = Checked()
    async with behind(upstream) as scene:
        line = b'gateway_target_up{target="%b",upstream="targets"} ' % upstream.url.encode()

        async def says(value: bytes) -> bool:
            return line + value in await body(scene, request(b"/metrics"))

        assert await says(b"1")
        upstream.health = 500
        await eventually(lambda: says(b"0"))
        upstream.health = 200
        await eventually(lambda: says(b"1"))


async def test_checks_end_with_the_gateway() -> None:
    upstream = Checked()
    async with behind(upstream):
        await eventually(lambda: upstream.checks >= 1)
    seen = upstream.checks
    await asyncio.sleep(0.12)
    assert upstream.checks == seen


async def test_without_a_check_nobody_is_asked_anything() -> None:
    async with answering(b"ok") as [upstream], in_front([upstream]) as scene:
        assert await status(scene) == 200
        assert len(upstream.heads) == len(upstream.connections) == 1


async def test_a_check_may_have_a_query() -> None:
    async with (
        answering(b"ok") as [upstream],
        in_front([upstream], health_check={**CHECK, "path": "/a%2Fb?c=d%20e&f=+"}),
    ):
        await eventually(lambda: bool(upstream.heads))
        assert upstream.targets[0] == b"/a%2Fb?c=d%20e&f=+"


async def test_a_redirect_of_a_check_is_not_followed() -> None:
    async with answering(b"elsewhere") as [elsewhere]:
        upstream = Checked()
        upstream.health = 302
        upstream.lines = b"Location: " + elsewhere.url.encode() + b"/health\r\n"
        async with behind(upstream) as scene:
            await eventually(lambda: upstream.checks >= 3)
            assert await status(scene) == 200
            assert not elsewhere.heads
