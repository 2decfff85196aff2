"""The gateway's own WebSocket as the Autobahn list sees it: it does not echo, it answers a ping.

So a text message of the list becomes a string inside `{"action":"ping","x":"…"}`: the JSON begins
with its first frame and ends with its last, and what is valid comes back as `{"type":"pong"}`.
Binary messages are refused there (1003), so the cases that have one echoed are left out.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from tests.e2e.stage import Connection, Stage, Upstream, gateway_on, settings
from tests.websocket.cases import Case
from tests.websocket.frames import BINARY, CONT, TEXT, Frame, read_frame, text
from tests.websocket.talking import Heard, opened

PATH = b"/ws/predictions"
BEFORE, BEHIND = b'{"action":"ping","x":"', b'"}'
PONG = "pong"
BAD_JSON = "bad_json"
PING = b'{"action":"ping"}'
FAST = "1000000/second"


SOON = 0.01
"""s that a client has to answer a Close, where a test does not ask how long that is."""


@asynccontextmanager
async def hub(close_wait: float = SOON, **realtime: Any) -> AsyncIterator[Stage]:
    """A gateway with live updates, that lets clients talk as fast as they like."""
    upstream = Upstream()
    await upstream.start()
    table = {"message_rate": FAST, **realtime}
    made = settings(upstream, realtime=table, access_log=False, log_level="ERROR")
    try:
        async with gateway_on(made) as (gateway, port):
            live: Any = gateway._live._hub
            live.closing.seconds = close_wait
            scene = Stage(gateway, upstream, port, -1)
            try:
                yield scene
            finally:
                scene.close_clients()
    finally:
        await upstream.stop()


async def welcomed(scene: Stage, *lines: bytes) -> Connection:
    """A client behind its handshake and its welcome."""
    client, _ = await opened(scene.port, PATH, *lines)
    scene._clients.append(client)
    assert said(await read_frame(client, rsv=4)) == "welcome"
    return client


def ping(size: int) -> Frame:
    """A ping, as JSON, in a frame of this many bytes."""
    return text(PING.ljust(size))


def said(frame: Frame) -> object:
    """What the hub says: a message's type, an error's code; a control frame as it is."""
    if frame.opcode != TEXT:
        return frame
    message = json.loads(frame.payload)
    return message["error"] if message["type"] == "error" else message["type"]


def worded(frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """A case's frames, with the JSON around their texts."""
    out = []
    inside = False
    for frame in frames:
        payload = frame.payload
        if frame.opcode == TEXT:
            payload, inside = BEFORE + payload, True
        if inside and frame.fin and frame.opcode in (TEXT, CONT):
            payload, inside = payload + BEHIND, False
        out.append(replace(frame, payload=payload))
    return tuple(out)


def answered(frames: Sequence[Frame]) -> list[object]:
    """What the hub says where others echo these."""
    return [
        _verdict(BEFORE + frame.payload + BEHIND) if frame.opcode == TEXT else frame
        for frame in frames
    ]


def _verdict(message: bytes) -> str:
    try:
        json.loads(message)
    except json.JSONDecodeError:  # a control character, which a JSON string has to escape
        return BAD_JSON
    return PONG


def for_hub(cases: Sequence[Case]) -> tuple[Case, ...]:
    """The cases that it can play."""
    return tuple(case for case in cases if all(answer.opcode != BINARY for answer in case.answers))


def fault(case: Case, heard: Heard, wanted: Sequence[object], *, resets: bool) -> str:
    """What is wrong with what it said; empty when nothing is. It answers where it reads."""
    if heard.code not in case.codes:
        return f"closed with {heard.code or heard.end}, not {sorted(case.codes)}: {heard}"
    if heard.end not in (("eof", "reset") if resets else ("eof",)):
        return f"it ended with {heard.end}"
    words = [said(frame) for frame in heard.frames]
    return "" if words == list(wanted) else f"it said {words}, not {list(wanted)}"
