"""No file descriptors left: the gateway waits, says so once, and loses nobody who is queued."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tests.e2e.life import Program, answering, request, route, running
from tests.e2e.stage import Connection

FILES = 64
"""Descriptors that the process may have: room for some 40 connections."""

MORE_THAN_FIT = 90


def processor_seconds(gateway: Program) -> float:
    fields = Path(f"/proc/{gateway.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def crowd(gateway: Program, path: str) -> list[Connection]:
    return [await gateway.send(request("GET", path)) for _ in range(MORE_THAN_FIT)]


async def serve_in_turn(clients: list[Connection]) -> None:
    """Each client gets its answer and makes room by leaving."""
    for client in clients:
        head, _ = await client.answer()
        assert head.startswith(b"HTTP/1.1 200 ")
        await client.close()


async def test_when_descriptors_run_out_it_waits_and_then_serves_who_was_queued(
    tmp_path: Path,
) -> None:
    limits = {"connections": 1000}  # so that descriptors are what runs out
    async with running(tmp_path, files=FILES, limits=limits) as gateway:
        clients = await crowd(gateway, "/health/live")
        paused = await gateway.event("accept_paused")
        before = processor_seconds(gateway)
        await asyncio.sleep(2)  # what it costs to wait is the subject
        assert processor_seconds(gateway) - before < 0.2
        assert len(gateway.found("accept_paused")) == 1
        await serve_in_turn(clients)
        await gateway.event("accept_resumed")
        assert (await gateway.get("/health/live"))[0] == 200
    assert (paused["level"], paused["reason"]) == ("WARNING", "EMFILE")
    assert len(gateway.found("accept_resumed")) == len(gateway.found("accept_paused"))


async def test_by_default_there_is_room_left_for_upstreams(tmp_path: Path) -> None:
    async with answering() as upstream:
        settings = {"routes": [route(upstream)]}
        async with running(tmp_path, files=128, **settings) as gateway:
            clients = await crowd(gateway, "/api/x")
            paused = await gateway.event("accept_paused")
            assert paused["reason"] == "connections"
            before = processor_seconds(gateway)
            await asyncio.sleep(1)  # as above
            assert processor_seconds(gateway) - before < 0.1
            assert len(gateway.found("accept_paused")) == 1
            await serve_in_turn(clients)
            assert (await gateway.get("/api/x"))[2] == b"ok"
        assert {line["status_code"] for line in gateway.found("request")} == {200}


async def test_who_is_connected_is_served_while_others_wait(tmp_path: Path) -> None:
    limits = {"connections": 1000}
    async with running(tmp_path, files=FILES, limits=limits) as gateway:
        first = await gateway.send(request("GET", "/health/live"))
        await first.answer()
        await crowd(gateway, "/health/live")
        await gateway.event("accept_paused")
        for _ in range(10):
            await first.send(request("GET", "/health/live"))
            assert (await first.answer())[0].startswith(b"HTTP/1.1 200 ")


async def test_pauses_are_counted(tmp_path: Path) -> None:
    limits = {"connections": 1000}
    async with running(tmp_path, files=FILES, limits=limits) as gateway:
        first = await gateway.send(request("GET", "/health/live"))
        await first.answer()
        clients = await crowd(gateway, "/health/live")
        await gateway.event("accept_paused")
        await first.send(request("GET", "/metrics"))
        assert b"gateway_accept_paused_total 1.0" in (await first.answer())[1]
        for client in clients:
            client.reset()


async def test_a_gateway_under_pressure_still_drains(tmp_path: Path) -> None:
    limits = {"connections": 1000}
    async with running(tmp_path, files=FILES, limits=limits) as gateway:
        clients = await crowd(gateway, "/health/live")
        await gateway.event("accept_paused")
        gateway.process.terminate()
        assert await gateway.ended() == 0
        for client in clients:
            await client.close()
