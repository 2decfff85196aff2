from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import ClassVar

import pytest

from bench import loads
from bench.children import BenchError
from bench.generators import Generator, Sample, parse_report, short_answers

WRK = shutil.which("wrk")
SAMPLE = Sample(requests=1000, seconds=2.0, bytes_read=100_000, errors=0, p50=1, p95=2, p99=3)
LINE = (
    '{"duration_us":2000000,"requests":1000,"bytes":100000,"connect":1,"read":2,"write":3,'
    '"status":4,"timeout":5,"wrong":6,"p50_us":1500,"p95_us":2500,"p99_us":3500,"max_us":9}'
)


def test_report_after_other_output_gives_seconds_milliseconds_and_all_kinds_of_errors() -> None:
    found = parse_report(f"Running 2s test\n  Latency 1ms\n{LINE}\n")

    assert found == Sample(
        requests=1000, seconds=2.0, bytes_read=100_000, errors=21, p50=1.5, p95=2.5, p99=3.5
    )
    assert found.rate == 500


def test_output_without_a_report_is_an_error_that_shows_it() -> None:
    with pytest.raises(BenchError, match="unable to connect"):
        parse_report("unable to connect to 127.0.0.1:9\n")


def test_answers_of_the_checked_size_are_not_short() -> None:
    assert short_answers(SAMPLE, replace(SAMPLE, requests=500, bytes_read=50_200)) == 0


def test_answers_cut_to_half_their_size_are_counted_as_short() -> None:
    assert short_answers(replace(SAMPLE, bytes_read=50_000), SAMPLE) == 500


def test_parts_of_answers_at_the_end_of_a_run_make_nothing_short() -> None:
    assert short_answers(replace(SAMPLE, bytes_read=104_000), SAMPLE) == 0


def test_run_without_requests_has_neither_rate_nor_short_answers() -> None:
    nothing = replace(SAMPLE, requests=0, seconds=0.0, bytes_read=0)

    assert (nothing.rate, nothing.mean_bytes) == (0, 0)
    assert short_answers(nothing, SAMPLE) == 0


VARIED_HEAD = re.compile(
    rb"GET /api/service1/varied/(?P<path>[0-9a-f]{8})\?page=(?P<query>\d+) HTTP/1\.1\r\n"
    rb"(?:Host: [0-9.:]+\r\n)?X-N: (?P<field>[0-9a-f]{40})\r\n(?:Host: [0-9.:]+\r\n)?\r\n"
)


class Canned(asyncio.Protocol):
    """Gives every piece of input the same answer."""

    answer = b""
    heads: ClassVar[list[bytes]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.heads.append(data)
        self._transport.write(self.answer)  # type: ignore[attr-defined]


@pytest.fixture
async def canned_port() -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    Canned.heads.clear()
    server = await loop.create_server(Canned, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


SMALL = replace(loads.BY_NAME["small"], connections=2)
VARIED = replace(loads.BY_NAME["varied"], connections=2)
RIGHT = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (
    len(loads.SMALL_BODY),
    loads.SMALL_BODY.encode(),
)


@pytest.mark.skipif(WRK is None, reason="wrk is a Debian package")
async def test_peer_that_answers_502_to_everything_has_only_errors(canned_port: int) -> None:
    Canned.answer = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"

    found = await asyncio.to_thread(Generator(WRK or "").measure, SMALL, canned_port, 1)

    assert found.requests > 0
    assert found.errors == found.requests


@pytest.mark.skipif(WRK is None, reason="wrk is a Debian package")
async def test_answers_of_another_length_are_all_wrong_when_checked(canned_port: int) -> None:
    Canned.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"

    found = await asyncio.to_thread(Generator(WRK or "").check, SMALL, canned_port, 1)

    assert found.requests > 0
    assert found.errors == found.requests


@pytest.mark.skipif(WRK is None, reason="wrk is a Debian package")
async def test_right_answers_are_no_errors_when_checked(canned_port: int) -> None:
    Canned.answer = RIGHT

    found = await asyncio.to_thread(Generator(WRK or "").check, SMALL, canned_port, 1)

    assert found.requests > 0
    assert found.errors == 0


@pytest.mark.skipif(WRK is None, reason="wrk is a Debian package")
async def test_small_load_sends_the_same_head_again_and_again(canned_port: int) -> None:
    Canned.answer = RIGHT

    await asyncio.to_thread(Generator(WRK or "").measure, SMALL, canned_port, 1)

    assert len(Canned.heads) > 100
    assert len(set(Canned.heads)) == 1


@pytest.mark.skipif(WRK is None, reason="wrk is a Debian package")
async def test_varied_load_differs_in_path_query_and_field_of_every_request(
    canned_port: int,
) -> None:
    Canned.answer = RIGHT

    found = await asyncio.to_thread(Generator(WRK or "").check, VARIED, canned_port, 1)

    heads = [VARIED_HEAD.fullmatch(head) for head in Canned.heads]
    assert found.errors == 0
    assert len(heads) > 100
    assert None not in heads
    for part in ("query", "field"):
        assert len({head[part] for head in heads if head}) == len(heads)
    assert len({head["path"] for head in heads if head}) > 100


@pytest.mark.skipif(WRK is None, reason="wrk is a Debian package")
async def test_load_sends_its_fields_and_a_key_of_the_tier_that_is_not_refused(
    canned_port: int,
) -> None:
    Canned.answer = RIGHT
    chain = replace(loads.BY_NAME["chain"], connections=1)
    asked = chain.asked_with({"pro": "gw_one", "free": "gw_two"})

    await asyncio.to_thread(Generator(WRK or "").measure, asked, canned_port, 1)

    lines = Canned.heads[0].split(b"\r\n")
    assert b"Origin: https://app.example.com" in lines
    assert b"X-API-Key: gw_one" in lines


def test_peer_without_keys_is_asked_without_one() -> None:
    assert SMALL.asked_with({}) == SMALL
