"""A client of live updates over WebSocket, with `websockets` (pip install websockets).

    GATEWAY_KEY=gwk_… python live.py ws://127.0.0.1:8000/ws/predictions AAPL MSFT

It comes back when its connection is lost, and asks for what it missed meanwhile. Where the gateway
cannot tell that any more, it says so: what is true now has to be asked for elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncIterator
from typing import Any

from websockets import ConnectionClosed, InvalidHandshake, InvalidStatus, connect

FIRST, LONGEST = 0.5, 30.0  # s between two attempts
FINAL = (400, 401, 403, 404)  # to ask again is no use: something has to be changed here


class RefusedError(Exception):
    """The gateway will not have this client; it says why."""


async def updates(url: str, symbols: list[str], key: str = "") -> AsyncIterator[dict[str, Any]]:
    """Every message about these symbols, across lost connections. Raises RefusedError."""
    fields = {"X-API-Key": key} if key else {}
    since: dict[str, str] = {}  # the last update that was seen
    pause = FIRST
    while True:
        try:
            async with connect(url, additional_headers=fields, proxy=None) as socket:
                subscribe = {"action": "subscribe", "symbols": symbols, **since}
                await socket.send(json.dumps(subscribe))
                async for text in socket:
                    message = json.loads(text)
                    if message["type"] == "error":
                        raise RefusedError(f"{message['error']}: {message['message']}")
                    if message["type"] == "subscribed":
                        pause = FIRST
                    if "offset" in message:
                        since = {"since": message["offset"]}
                    yield message
        except InvalidStatus as error:
            status, body = error.response.status_code, error.response.body or b""
            if status in FINAL:
                raise RefusedError(f"{status} {body.decode(errors='replace')}") from None
        except (ConnectionClosed, InvalidHandshake, OSError):
            pass  # it comes back
        # Not all clients at once: each waits for a random time, longer with each attempt.
        await asyncio.sleep(random.uniform(0, pause))
        pause = min(2 * pause, LONGEST)


async def main() -> int:
    url, *symbols = sys.argv[1:]
    try:
        async for message in updates(url, symbols, os.environ.get("GATEWAY_KEY", "")):
            if message["type"] == "prediction_update":
                print(message["symbol"], message["predicted_price"], flush=True)
            elif message["type"] in ("refetch", "warning"):
                print("some updates are missing: fetch the present state", flush=True)
    except RefusedError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
