"""The loads that every peer is measured under."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
SMALL_BODY = '{"id":1,"name":"orders","status":"ok","items":[1,2,3]}'
SIZES = {"64k": 64 * KIB, "1m": 1024 * KIB}


@dataclass(frozen=True, slots=True)
class Load:
    """`upload` and `answer` are body sizes in bytes; a WebSocket load has neither.

    `quick` loads are part of the quick run.
    """

    name: str
    title: str
    path: str
    connections: int
    answer: int = len(SMALL_BODY)
    upload: int = 0
    websocket: bool = False
    quick: bool = True


LOADS: tuple[Load, ...] = (
    Load("small", "small GET, 64 connections", "/api/service1/small", 64),
    Load(
        "down64k",
        "64 KiB down, 64 connections",
        "/api/service1/64k",
        64,
        answer=SIZES["64k"],
        quick=False,
    ),
    Load("down1m", "1 MiB down, 16 connections", "/api/service1/1m", 16, answer=SIZES["1m"]),
    Load(
        "up64k",
        "64 KiB up, 64 connections",
        "/api/service1/upload",
        64,
        upload=SIZES["64k"],
        quick=False,
    ),
    Load("up1m", "1 MiB up, 16 connections", "/api/service1/upload", 16, upload=SIZES["1m"]),
    Load("ws", "WebSocket echo, 64 connections", "/ws", 64, websocket=True),
    Load("thousand", "small GET, 1,000 connections", "/api/service1/small", 1000),
)

BY_NAME = {load.name: load for load in LOADS}
