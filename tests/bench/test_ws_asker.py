from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from bench.ws.asker import Asker, complete

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Answers(asyncio.Protocol):
    """The first request is answered late, and all that come meanwhile with it."""

    held: list[asyncio.Transport]
    late = 0.3
    answer = ANSWER

    # uvloop's transport is an asyncio.Transport in everything but its bases.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self.late and not self.held:
            asyncio.get_running_loop().call_later(self.late, self.release)
        if self.late:
            self.held.append(self._transport)
        else:
            self._transport.write(self.answer)

    def release(self) -> None:
        type(self).late = 0
        for transport in self.held:
            transport.write(self.answer)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    Answers.held, Answers.late, Answers.answer = [], 0.3, ANSWER
    server = await asyncio.get_running_loop().create_server(Answers, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


def run(port: int) -> dict[str, int]:
    asker = Asker(port, "/health", 500)
    try:
        return asker.run(0.6)
    finally:
        asker.close()


async def test_requests_that_were_due_while_the_server_did_something_else_have_waited(
    port: int,
) -> None:
    found = await asyncio.to_thread(run, port)

    # 32 connections wait; the 118 requests that were due and had none have waited as well.
    assert found["requests"] == 300
    assert 250_000 < found["p95_us"] < 600_000
    assert found["p50_us"] > 1000
    assert [found[name] for name in ("read", "status", "timeout")] == [0, 0, 0]


async def test_answer_that_is_not_200_is_an_error(port: int) -> None:
    Answers.late, Answers.answer = 0, ANSWER.replace(b"200", b"503")

    found = await asyncio.to_thread(run, port)

    assert found["status"] == found["requests"] == 300


async def test_server_that_never_answers_ends_the_run_with_time_outs(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.ws.asker.LATE_SECONDS", 0.1)
    Answers.late = 100

    found = await asyncio.to_thread(run, port)

    assert (found["requests"], found["timeout"]) == (0, 300)


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (ANSWER, True),
        (ANSWER[:-1], False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nServer: x\r\n\r\nok", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", False),
    ],
)
def test_answer_is_complete_with_its_body(answer: bytes, whole: bool) -> None:
    assert complete(answer) is whole
