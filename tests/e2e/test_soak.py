"""Many clients, an upstream that fails in every way, and nothing left over afterwards.

SOAK_SECONDS makes it longer, SOAK_SEED repeats what another run did (as far as time allows).
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import select
import socket
import struct
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.app import Gateway
from gateway.config import Settings
from gateway.deadline import Deadline
from tests.e2e.soak import Faulty, Tally, Visitor
from tests.e2e.stage import GET, OK, PATIENCE, Stage, gateway_on, stage
from tests.e2e.tunnels import comes_true, targets, tunnels, unused

SECONDS = float(os.environ.get("SOAK_SECONDS", "6"))
SEED = int(os.environ.get("SOAK_SEED", "20261121"))
CLIENTS = 40
ROUNDS = 3
GROWTH = 8 << 20
"""Bytes that a worker may have grown by from the first round to the last: what allocators keep."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def settings(first: str, second: str, down: int, connections: int = 6) -> Settings:
    return Settings.model_validate(
        {
            "host": "127.0.0.1",
            "port": 0,
            "timeout": 0.4,
            "drain_delay": 0,
            "limits": {"head_timeout": 0.5, "send_timeout": 1},
            "upstreams": {
                "pool": {
                    "targets": [first, second],
                    "pool": {"connections": connections, "waiting": 20, "wait_timeout": 0.3},
                    "retries": {"attempts": 2},
                    "circuit_breaker": {"failures": 20, "window": 5, "open_for": 0.1},
                    "health_check": {"path": "/health/0", "interval": 0.1, "timeout": 0.1},
                }
            },
            "routes": [
                {"name": "api", "prefix": "/api", "target_url": first, "websocket": True},
                {"name": "pool", "prefix": "/pool", "upstream": "pool"},
                {
                    "name": "down",
                    "prefix": "/down",
                    "target_url": f"http://127.0.0.1:{down}",
                },
            ],
        }
    )


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def descriptors() -> list[str]:
    """What the process has open: sockets only as many as they are."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}").partition(":[")[0])
        except FileNotFoundError:  # the one that lists them
            continue
    return sorted(found)


def task_names() -> list[str]:
    """The tasks at work: health checks of the pool's targets, and the test itself."""
    return sorted(task.get_name().split(" http")[0] for task in asyncio.all_tasks())


def alive() -> Counter[str]:
    """The gateway's own objects, by type: what an exchange leaves behind is among them.

    Without settings, and the metrics' cells, which stay once their labels have been met.
    """
    gc.collect()
    kinds = Counter(type(one) for one in gc.get_objects())
    return Counter(
        {
            kind.__qualname__: count
            for kind, count in kinds.items()
            if (package := str(kind.__module__).split("."))[0] == "gateway"
            and package[1] not in ("config", "telemetry")
        }
    )


def waiting() -> int:
    """Entries of all deadlines."""
    gc.collect()
    return sum(len(one) for one in gc.get_objects() if type(one) is Deadline)


async def visits(name: str, port: int, tally: Tally, until: float) -> None:
    """One client after another."""
    turn = 0
    while asyncio.get_running_loop().time() < until:
        turn += 1
        rng = random.Random(f"{SEED} {name} {turn}")
        await Visitor(rng, port, f"{name}-{turn}", tally).visit()


async def reloads(gateway: Gateway, places: tuple[str, str, int], until: float) -> None:
    """Other settings every now and then, so that upstreams are let go with requests in them."""
    connections = 6
    while asyncio.get_running_loop().time() < until:
        connections = 13 - connections
        await gateway.apply(settings(*places, connections))
        gateway.tick(0.0)
        await asyncio.sleep(0.2)


async def settled(scene: Stage, files: list[str], tasks: list[str]) -> None:
    """Wait until nothing is left of what went on; tell what is."""
    front = scene.gateway.front

    def state() -> dict[str, Any]:
        return {
            "clients": len(front.connections),
            "tunnels": tunnels(scene),
            "tasks": task_names(),
            "pools": [
                (t.pool.open, t.pool.idle, t.pool.waiting, t.in_flight) for t in targets(scene)
            ],
            "files": Counter(descriptors()) - Counter(files),
        }

    empty = {
        "clients": 0,
        "tunnels": 0,
        "tasks": tasks,
        "pools": [(0, 0, 0, 0)] * len(targets(scene)),
        "files": Counter(),
    }
    try:
        await comes_true(lambda: not front.connections and unused(scene), 2 * PATIENCE)
        scene.gateway.tick(0.0)
        await comes_true(lambda: state() == empty)
    except TimeoutError:
        assert state() == empty
    assert waiting() == 0


@pytest.mark.timeout(60 + 3 * SECONDS)
async def test_faults_of_all_kinds_leave_nothing_behind(capfd: pytest.CaptureFixture[str]) -> None:
    print(f"SOAK_SEED={SEED}")  # noqa: T201 - shown when it fails
    tally = Tally()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: tally.wrong.append(f"in the loop: {context}"))
    upstreams = [Faulty(random.Random(f"{SEED} {n}"), tally, 0.35) for n in range(2)]
    first, second = [await upstream.start() for upstream in upstreams]
    places = (first, second, free_port())
    upstream: Any = upstreams[0]
    async with gateway_on(settings(*places)) as (gateway, port):
        scene = Stage(gateway, upstream, port, -1)
        files = descriptors()
        tasks = task_names()
        await gateway.apply(settings(*places, 7))  # what a reload leaves is there from now on
        await settled(scene, files, tasks)
        before = alive()
        sizes = []
        for round_ in range(ROUNDS):
            until = loop.time() + SECONDS / ROUNDS
            async with asyncio.TaskGroup() as group:
                for number in range(CLIENTS):
                    name = f"{round_}-{number}"
                    group.create_task(visits(name, port, tally, until))
                if round_ == ROUNDS - 1:
                    group.create_task(reloads(gateway, places, until))
            for one in upstreams:
                await one.hang_up()
            await settled(scene, files, tasks)
            sizes.append(resident())
        await asyncio.sleep(0.5)  # the timers of retired routes run out: their timeout is 0.4 s
        # A target keeps the last head of its answers, and one address made one peer.
        kept = Counter(ResponseHead=len(targets(scene)), Peer=1)
        grown = alive() - before - kept
    for one in upstreams:
        await one.stop()
    log = capfd.readouterr().out
    counts = tally.counts
    print(f"SOAK_SEED={SEED}", sorted(counts.items()), sizes)  # noqa: T201 - the same
    assert not tally.wrong, tally.wrong[:10]
    assert not grown, grown
    assert '"internal_error"' not in log, [x for x in log.splitlines() if "internal_error" in x][:3]
    assert not [token for token, times in tally.posted.items() if times > 1]
    assert counts["status 200"] > sum(counts.values()) / 10, "it hardly answered at all"
    assert counts["websocket heard all"]
    assert sizes[-1] - sizes[0] < GROWTH, sizes


@pytest.mark.timeout(60)
async def test_leaving_in_the_middle_of_it_leaves_nothing_behind() -> None:
    tally, ignored = Tally(), Tally()  # who is cut off may see anything
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: tally.wrong.append(f"in the loop: {context}"))
    upstreams = [Faulty(random.Random(f"{SEED} {n}"), ignored, 0.2) for n in range(2)]
    first, second = [await upstream.start() for upstream in upstreams]
    upstream: Any = upstreams[0]
    async with gateway_on(settings(first, second, free_port())) as (gateway, port):
        scene = Stage(gateway, upstream, port, -1)
        files, tasks, front = descriptors(), task_names(), gateway.front
        for round_ in range(3):
            async with asyncio.TaskGroup() as group:
                for number in range(CLIENTS):
                    name = f"leaving-{round_}-{number}"
                    group.create_task(visits(name, port, ignored, loop.time() + 0.3))
                await asyncio.sleep(0.1 + 0.02 * round_)
                front.draining = True
                front.leave()
                front.close_idle()
                await asyncio.sleep(0.05)
                front.cut_all()
                front.draining = False
            for one in upstreams:
                await one.hang_up()
            await settled(scene, files, tasks)
    for one in upstreams:
        await one.stop()
    assert not tally.wrong, tally.wrong[:10]


async def test_answers_nobody_reads_are_not_made() -> None:
    async with stage() as scene:
        client = await scene.client()
        await comes_true(lambda: scene.gateway.front.connections)
        (downstream,) = scene.gateway.front.connections
        client.writer.transport.set_write_buffer_limits(0)
        request = b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.send(300_000 * request), 1.5)
        assert downstream._transport.get_write_buffer_size() < 1 << 20


async def test_an_attempt_given_up_before_it_began_gives_its_place_back() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        upstream: Any = SimpleNamespace(url=f"http://127.0.0.1:{listener.getsockname()[1]}")
        async with stage(upstream) as scene:
            clients = [socket.create_connection(("127.0.0.1", scene.port)) for _ in range(2)]
            places = []
            for client in clients:  # two connections to the target, both of them idle
                client.setblocking(False)
                await loop.sock_sendall(client, GET)
                places.append((await loop.sock_accept(listener))[0])
            for client, place in zip(clients, places, strict=True):
                assert await loop.sock_recv(place, 65536)
                await loop.sock_sendall(place, OK)
                assert await loop.sock_recv(client, 65536)
            await loop.sock_sendall(clients[0], GET)
            await comes_true(lambda: select.select(places, [], [], 0)[0])
            (taken,) = select.select(places, [], [], 0)[0]
            for end in (taken, clients[0]):  # both at once: the gateway tries again for nobody
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.close()
            await comes_true(lambda: len(scene.gateway.front.connections) == 1)
            for end in (*clients, *places):
                end.close()
            await comes_true(lambda: targets(scene)[0].pool.open == 0)
