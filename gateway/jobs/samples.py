"""Small workers for trying things out: each says what it found in what it was given, no more.

There is no model behind any of them. What they tell is worked out from the sample data.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from random import Random
from struct import unpack
from typing import Any, Final

from gateway.jobs.worker import Failed, Handler, Task

STEP: Final = 0.2
"""s between two steps, so that there is progress to be seen."""

POINTS: Final[Mapping[str, int]] = {"fast": 10, "medium": 30, "deep": 100}
"""Predictions that an explanation looks at."""

STOCK: Final[Mapping[str, int]] = {"tea": 12, "honey": 4, "bread": 0, "coffee": 7}


@dataclass(frozen=True, slots=True)
class Point:
    """One prediction."""

    price: float
    confidence: float


def walk(symbol: str, count: int) -> list[Point]:
    """A series for those who have none: the same for a symbol each time."""
    random = Random(symbol)
    price, points = random.uniform(50, 500), []
    for _ in range(count):
        price *= 1 + random.gauss(0, 0.002)
        points.append(Point(round(price, 2), round(random.uniform(0.6, 0.95), 2)))
    return points


async def explain(
    series: Callable[[str, int], Sequence[Point]], source: str, step: float, task: Task
) -> dict[str, Any]:
    """What a symbol's last predictions look like; `series` gives so many, oldest first."""
    symbol, depth = task.input["symbol"], task.input["depth"]
    await task.progress(10, "reading the predictions")
    points = series(symbol, POINTS[depth])
    if not points:
        raise Failed(f"there are no predictions for {symbol} in the sample data")
    await asyncio.sleep(step)
    await task.progress(50, f"comparing {len(points)} of them")
    first, last = points[0].price, points[-1].price
    lowest, highest = min(p.price for p in points), max(p.price for p in points)
    sure = sum(point.confidence for point in points) / len(points)
    change = (last - first) / first * 100
    moved = (
        "did not move" if not change else f"{'rose' if change > 0 else 'fell'} {abs(change):.2f}%"
    )
    await asyncio.sleep(step)
    await task.progress(90, "writing it down")
    text = (
        f"Over the last {len(points)} predictions {symbol} {moved}, from {first} to {last}, "
        f"between {lowest} and {highest}, at a confidence of {sure:.2f} on average. "
        "These are sample data, a random walk: there is no reason behind them."
    )
    return {
        "explanation": text,
        "depth": depth,
        "predicted_price": last,
        "change_percent": round(change, 2),
        "sources": [{"name": source, "predictions": len(points)}],
    }


async def generate(step: float, task: Task) -> dict[str, Any]:
    """The prompt's words that are in stock, in an order that the seed decides."""
    words = {word.strip(".,!?").lower() for word in task.input["prompt"].split()}
    wanted = task.input.get("inventory_filter")
    await task.progress(30, "looking through the stock")
    await asyncio.sleep(step)
    names = [name for name in STOCK if name in words and (wanted is None or name in wanted)]
    seed = task.input.get("seed", int(sha256(task.input["prompt"].encode()).hexdigest()[:8], 16))
    Random(seed).shuffle(names)
    await task.progress(80, "writing it down")
    said = ", ".join(f"{name} ({STOCK[name]} in stock)" for name in names) or "nothing of that"
    return {"text": f"From the sample stock: {said}.", "seed": seed, "items": names}


async def detect(step: float, task: Task) -> dict[str, Any]:
    """What an image's first bytes say: nothing is recognised in it."""
    image = b64decode(task.input["image"])
    await task.progress(50, "reading the image")
    await asyncio.sleep(step)
    kind, size = shape_of(image)
    if kind is None:
        raise Failed("this is neither PNG, GIF nor JPEG")
    return {"format": kind, "bytes": len(image), **size, "items": []}


def shape_of(image: bytes) -> tuple[str | None, dict[str, int]]:
    """Format, and width and height where they are at a fixed place."""
    if image.startswith(b"\x89PNG\r\n\x1a\n") and len(image) >= 24:
        width, height = unpack(">II", image[16:24])  # PNG, 11.2.2: IHDR comes first
        return "png", {"width": width, "height": height}
    if image[:6] in (b"GIF87a", b"GIF89a") and len(image) >= 10:
        width, height = unpack("<HH", image[6:10])
        return "gif", {"width": width, "height": height}
    return ("jpeg" if image.startswith(b"\xff\xd8\xff") else None), {}


def handlers(
    series: Callable[[str, int], Sequence[Point]] = walk,
    source: str = "sample walk",
    step: float = STEP,
) -> dict[str, Handler]:
    """By kind."""
    return {
        "explanation": partial(explain, series, source, step),
        "generate": partial(generate, step),
        "detect_inventory": partial(detect, step),
    }
