"""The loads that every peer is measured under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bench import predicted

KIB = 1024
SMALL_BODY = '{"id":1,"name":"orders","status":"ok","items":[1,2,3]}'
KEY_FIELD = "X-API-Key"
ORIGIN = "https://app.example.com"
SIZES = {"64k": 64 * KIB, "1m": 1024 * KIB}


@dataclass(frozen=True, slots=True)
class Load:
    """`upload` and `answer` are body sizes in bytes; a WebSocket load has neither.

    `fields` are lines of the head beside Host, as `name: value`.
    A load with `setup` is for peers that have a configuration of their own for it.
    No two requests of a `varied` load are the same; `path` is what theirs begin with.
    `quick` loads are part of the quick run. Peers are compared with `reference`.
    """

    name: str
    title: str
    path: str
    connections: int
    answer: int = len(SMALL_BODY)
    upload: int = 0
    websocket: bool = False
    varied: bool = False
    fields: tuple[str, ...] = ()
    setup: bool = False
    quick: bool = True
    reference: str = "nginx"

    def asked_with(self, keys: Mapping[str, str]) -> Load:
        """The same, asked with a key of the tier whose limit it does not meet."""
        if "pro" not in keys:
            return self
        return replace(self, fields=(*self.fields, f"{KEY_FIELD}: {keys['pro']}"))


LOADS: tuple[Load, ...] = (
    Load("small", "small GET, 64 connections", "/api/service1/small", 64),
    Load(
        "varied",
        "small GET, no two heads alike, 64 connections",
        "/api/service1/varied",
        64,
        varied=True,
    ),
    Load(
        "chain",
        "small GET through key, limit, CORS and log, 64 connections",
        "/api/service1/small",
        64,
        fields=(f"Origin: {ORIGIN}",),
        setup=True,
    ),
    Load(
        "cached",
        "small GET from the cache, 64 connections",
        "/api/service1/varied/hot",
        64,
        setup=True,
    ),
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
    Load(
        "prediction",
        "a cached prediction, 64 connections",
        f"/api/prediction/{predicted.SYMBOL}",
        64,
        answer=len(predicted.answer()),
        setup=True,
        reference="aiohttp",
    ),
    Load(
        "predictions",
        "a cached prediction, 1,000 connections",
        f"/api/prediction/{predicted.SYMBOL}",
        1000,
        answer=len(predicted.answer()),
        setup=True,
        quick=False,
        reference="aiohttp",
    ),
    Load("thousand", "small GET, 1,000 connections", "/api/service1/small", 1000),
)

BY_NAME = {load.name: load for load in LOADS}
