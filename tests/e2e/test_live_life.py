"""Connections from their beginning to their end, and the gateway's own ups and downs under them."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from gateway.realtime.session import Session
from gateway.realtime.stream import Stream
from tests.e2e.ears import Ear, site, until
from tests.e2e.life import LONG, Metrics
from tests.e2e.live import Live, live
from tests.websocket.frames import close, pong

METRICS = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
STATUS = b"GET /api/gateway/status HTTP/1.1\r\nHost: a\r\n\r\n"


# ------------------------------------------------------------------------------ time passes


async def test_who_wants_nothing_is_closed_with_the_reason() -> None:
    async with site({"idle_timeout": 0.3}) as one:
        idle = await one.ear()
        busy = await one.ear("A")
        assert await idle.closed() == (1000, "no subscription and no message for 0.3 s")
        await idle.send(close())
        assert await idle.connection.rest() == b""
        await busy.say("ping")
        assert (await busy.next())["type"] == "pong"
        (closed,) = one.logged("websocket_closed")
        assert closed["reason"] == "no subscription and no message for 0.3 s"
        assert closed["connection_id"] == idle.seen[0]["connection_id"]


async def test_a_client_that_never_answers_our_close_is_closed_all_the_same() -> None:
    async with site({"idle_timeout": 0.1}) as one:
        idle = await one.ear()
        assert (await idle.closed())[0] == 1000
        assert await idle.connection.rest() == b""


async def test_who_does_not_answer_pings_is_cut_and_who_does_stays() -> None:
    async with site({"ping_interval": 0.2}) as one:
        dead, alive = await one.ear("A"), await one.ear("A")

        async def answer() -> None:
            while True:
                await alive.frame()
                await alive.send(pong())

        answering = asyncio.create_task(answer())
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await dead.closed()
        await until(lambda: len(one.hub.members) == 1)
        await asyncio.sleep(0.5)
        assert len(one.hub.members) == 1
        assert [line["reason"] for line in one.logged("websocket_closed")] == ["silent"]
        answering.cancel()


# ------------------------------------------------------------------- what is left, what is shown


async def shown(one: Any) -> dict[str, Any]:
    status: dict[str, Any] = json.loads((await one.scene.ask(STATUS))[1])["realtime"]
    metrics = Metrics((await one.scene.ask(METRICS))[1].decode())
    route = {"route": "gateway.realtime"}
    for direction in ("sent", "received"):
        name = "gateway_websocket_messages_total"
        status[direction] = metrics.value(name, **route, direction=direction)
    status["gauge"] = metrics.value("gateway_websocket_connections", **route)
    status["dropped"] = metrics.value("gateway_websocket_dropped_total", **route)
    status["in queues"] = metrics.value("gateway_realtime_queued")
    return status


async def test_operators_see_who_is_there_and_who_was() -> None:
    async with site({"update_rate": "2/second", "buffer": 3}) as one:
        ears = [await one.ear("A", "B"), await one.ear("A")]
        for price in range(10):
            await one.publish(price)
        await ears[0].updates(2)
        seen = await shown(one)
        assert seen["connections"] == 2
        assert seen["subscriptions"] == 3
        assert seen["symbols"] == {"A": 2, "B": 1}
        assert seen["queued"] == seen["in queues"] == 6
        assert (seen["gauge"], seen["dropped"]) == (2, 10)
        assert (seen["sent"], seen["received"]) == (4, 2)
        await ears[0].say("unsubscribe", "A")
        ears[1].connection.reset()
        await until(lambda: len(one.hub.members) == 1)
        await until(lambda: one.hub.queued == 0)
        seen = await shown(one)
        assert (seen["connections"], seen["symbols"], seen["queued"]) == (1, {"B": 1}, 0)
        await ears[0].connection.close()
        await until(lambda: not one.hub.members)
        seen = await shown(one)
        assert (seen["connections"], seen["subscriptions"], seen["symbols"]) == (0, 0, {})
        assert seen["gauge"] == seen["in queues"] == 0


def living() -> int:
    return sum(type(one) in (Session, Stream) for one in gc.get_objects())


async def test_of_those_who_left_nothing_is_left() -> None:
    """Not even until the collector comes, which looks for cycles seldom in a gateway."""
    async with site() as one:
        gc.collect()
        gc.disable()
        try:
            assert living() == 0
            for turn in range(4):
                ears = [await one.ear("A") for _ in range(20)]
                for _ in range(5):
                    client = await one.scene.client()
                    line = b"GET /api/stream/predictions?symbols=A HTTP/1.1\r\nHost: a\r\n\r\n"
                    await client.send(line)
                    await client.until(b"welcome")
                    ears.append(Ear(client))
                await one.publish(1)
                assert living() == 25
                for number, ear in enumerate(ears):
                    if turn % 2 or number >= 20:
                        ear.connection.reset()
                    else:
                        await ear.send(close())
                await until(lambda: not one.hub.members)
                await until(lambda: not one.scene.gateway.front.connections)
                await asyncio.sleep(0)
                assert living() == 0
        finally:
            gc.enable()


# --------------------------------------------------------------------------------- whole processes


async def test_limits_change_under_connections_and_it_goes_off_and_on(tmp_path: Path) -> None:
    stores = {"sqlite": str(tmp_path / "gateway.db")}
    async with live(tmp_path) as one, one.socket() as socket:
        await socket.subscribe("AAPL")
        await one.program.reload(stores=stores, realtime={"max_symbols": 1, "connections": 1})
        await socket.say(action="subscribe", symbols=["MSFT"])
        assert (await socket.next("error"))["error"] == "too_many_symbols"
        await one.publish("AAPL", 1)
        assert (await socket.next("prediction_update"))["predicted_price"] == 1
        assert (await one.program.get("/ws/predictions"))[0] == 400
        await one.program.reload(stores=stores)
        assert await socket.closed() == (1001, "")
        assert (await one.program.get("/ws/predictions"))[0] == 404
        metrics = await one.program.metrics()
        connections = metrics.value("gateway_websocket_connections", route="gateway.realtime")
        assert connections == 0
        await one.program.reload(stores=stores, realtime={})
        async with one.socket() as again:
            await again.subscribe("AAPL")
            await one.publish("AAPL", 2)
            assert (await again.next("prediction_update"))["predicted_price"] == 2


async def test_it_goes_off_while_updates_flow(tmp_path: Path) -> None:
    stores = {"sqlite": str(tmp_path / "gateway.db")}
    async with live(tmp_path) as one:
        sockets = [one.socket() for _ in range(10)]
        opened = [await socket.__aenter__() for socket in sockets]
        for socket in opened:
            await socket.subscribe("AAPL")
        for price in range(30):
            await one.publish("AAPL", price)
        await one.program.reload(stores=stores)
        for socket in opened:
            with pytest.raises(ConnectionClosed) as closed:
                await socket.next("welcome-never")
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
        for socket in sockets:
            await socket.__aexit__(None, None, None)
        assert not one.program.found("log", level="ERROR")


async def test_a_drain_says_goodbye_to_all_and_exits_well(tmp_path: Path) -> None:
    async with live(tmp_path) as one, one.socket() as socket:
        await socket.subscribe("AAPL")
        stream = await one.program.send(
            b"GET /api/stream/predictions?symbols=AAPL HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        await stream.until(b"welcome")
        one.program.signal(signal.SIGTERM)
        assert await socket.closed() == (1001, "")
        assert (await stream.rest()).endswith(b"0\r\n\r\n")
        assert await one.program.ended() == 0
        assert not one.program.found("drain_cut")


async def test_a_client_that_reads_nothing_does_not_hold_up_a_drain(tmp_path: Path) -> None:
    async with live(tmp_path, realtime={"update_rate": "unlimited"}) as one:
        client = await one.program.send(
            b"GET /api/stream/predictions?symbols=AAPL HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        await client.until(b"welcome")
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for price in range(20):
            await one.publish("AAPL", price, note="x" * 50_000)
        one.program.signal(signal.SIGTERM)
        assert await one.program.ended() == 0


async def test_an_event_posted_to_one_worker_reaches_clients_of_all(tmp_path: Path) -> None:
    async with live(tmp_path, workers=3) as one:
        sockets = [one.socket() for _ in range(18)]
        opened = [await socket.__aenter__() for socket in sockets]
        for socket in opened:
            await socket.subscribe("AAPL")
        offsets: list[list[str]] = [[] for _ in opened]
        for price in range(5):
            await one.publish("AAPL", price)
            for socket, seen in zip(opened, offsets, strict=True):
                update = await socket.next("prediction_update")
                assert update["predicted_price"] == price
                seen.append(update["offset"])
        assert all(seen == offsets[0] for seen in offsets)  # an offset is good at any worker
        assert len(await workers_of(one)) > 1
        for socket in sockets:
            await socket.__aexit__(None, None, None)

        async def gone() -> None:
            gauge = "gateway_websocket_connections"
            while (await one.program.metrics()).value(gauge, route="gateway.realtime"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

        await asyncio.wait_for(gone(), LONG)


async def workers_of(one: Live) -> set[int]:
    """How many connections the workers that answer say they have."""
    answers = [await one.program.json("/api/gateway/status") for _ in range(20)]
    return {answer["realtime"]["connections"] for answer in answers}


async def test_both_envelopes_are_understood_and_bad_ones_are_counted(tmp_path: Path) -> None:
    async with live(tmp_path) as one, one.socket() as socket:
        await socket.subscribe("AAPL")
        wrapped = {
            "message_id": "m",
            "correlation_id": "c",
            "timestamp": "2026-01-01T00:00:00Z",
            "version": "1",
            "source": "s",
            "payload": {"ticker": "AAPL", "predicted_price": 2, "confidence": 0.5},
        }
        for event, status in (
            ({"symbol": "AAPL", "predicted_price": 1}, 202),
            (wrapped, 202),
            ({"symbol": "aapl", "predicted_price": 1}, 422),
            ([], 422),
        ):
            body = json.dumps(event).encode()
            head = (
                "POST /api/gateway/events HTTP/1.1",
                "Host: a",
                f"X-API-Key: {one.key}",
                f"Content-Length: {len(body)}",
            )
            client = await one.program.send("\r\n".join((*head, "", "")).encode() + body)
            assert int((await client.answer())[0].split()[1]) == status
        assert (await socket.next("prediction_update"))["predicted_price"] == 1
        update = await socket.next("prediction_update")
        assert (update["predicted_price"], update["confidence"]) == (2, 0.5)
        assert update["timestamp"] == "2026-01-01T00:00:00Z"
        assert "message_id" not in update
