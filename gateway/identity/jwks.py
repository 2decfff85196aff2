"""An issuer's keys, asked for by URL and kept.

A task asks again in the background, so that no request waits for it; a token whose key is not
in the set has it asked for once more, at most once in a cool-down, however many such tokens
come. While the source is down the last good set serves.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Final

import aiohttp

from gateway.errors import StoreDown
from gateway.identity import jose
from gateway.identity.jose import Key

SET_BYTES: Final = 262_144
PATIENCE: Final = 5.0  # s for the whole answer
FIRST_PAUSE: Final = 1.0  # s until a source that failed is asked again; doubled each time
LONGEST_PAUSE: Final = 30.0
# As it is: the session that opens connections unpacks nothing.
REQUEST_FIELDS: Final = {
    "Accept": "application/jwk-set+json, application/json",
    "Accept-Encoding": "identity",
}


class KeySet:
    """The keys behind one URL, for one worker."""

    def __init__(
        self,
        url: str,
        session: aiohttp.ClientSession,
        *,
        refresh: float,
        cooldown: float,
        lost: Callable[[str], None],
        back: Callable[[], None],
        failed: Callable[[], None],
        changed: Callable[[], None],
        patience: float = PATIENCE,
    ) -> None:
        """`refresh`: s between two looks; `cooldown`: s between two asked for by tokens.

        `lost` hears why the source gives no keys, once until `back`; `failed` of every question
        that got none; `changed` that the keys are others than before.
        """
        self._url = url
        self._session = session
        self._refresh = refresh
        self._cooldown = cooldown
        self._patience = patience
        self._lost = lost
        self._back = back
        self._failed = failed
        self._changed = changed
        self._keys: tuple[Key, ...] = ()
        self._named: Mapping[tuple[str | None, str], Sequence[Key]] = {}
        self._unnamed: Mapping[str, Sequence[Key]] = {}
        self._text = b""
        self._asked = float("-inf")
        self._down = False
        self._asking: asyncio.Task[bool] | None = None
        self._keeping: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to ask; a source that is down is no reason to wait."""
        self._keeping = asyncio.get_running_loop().create_task(self._keep(), name="jwks")

    async def close(self) -> None:
        for task in (self._keeping, self._asking):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """Those of this name and those without one; for a token without `kid`, all that fit."""
        if kid is None:
            return [key for key in self._keys if key.algorithm == algorithm]
        return self._named.get((kid, algorithm)) or self._unnamed.get(algorithm, ())

    async def renew(self) -> None:
        """Ask now, or join who is asking; not so soon after the last time.

        Raises `StoreDown` when no set was ever got.
        """
        asking = self._asking is not None and not self._asking.done()
        if asking or monotonic() - self._asked >= self._cooldown:
            await asyncio.wait((self._ask(),))  # whoever leaves, or is closed, ends no more
        if not self._keys:
            raise StoreDown

    def _ask(self) -> asyncio.Task[bool]:
        """The one task that asks, however many want to know."""
        if self._asking is None or self._asking.done():
            self._asked = monotonic()
            self._asking = asyncio.get_running_loop().create_task(self._take(), name="jwks ask")
        return self._asking

    async def _keep(self) -> None:
        pause = FIRST_PAUSE
        while True:
            asking = self._ask()
            await asyncio.wait((asking,))
            if not asking.cancelled() and asking.result():
                pause = FIRST_PAUSE
                # Workers that started together drift apart.
                await asyncio.sleep(self._refresh * random.uniform(0.9, 1.0))
                continue
            await asyncio.sleep(min(pause, self._refresh))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _take(self) -> bool:
        """Ask, and take what is good; whether it was."""
        try:
            async with asyncio.timeout(self._patience):
                text = await self._fetch()
            if text != self._text:
                self._put(jose.read_set(text))
                self._text = text
        except TimeoutError:
            self._fail("no answer in time")
            return False
        except (aiohttp.ClientError, OSError) as error:
            self._fail(type(error).__name__)  # its text has the URL, which may hold a secret
            return False
        except ValueError as error:
            self._fail(str(error))
            return False
        if self._down:
            self._down = False
            self._back()
        return True

    async def _fetch(self) -> bytes:
        """The answer's body. Raises ValueError for one that is none of ours to read."""
        async with self._session.get(
            self._url, headers=REQUEST_FIELDS, allow_redirects=False
        ) as answer:
            if answer.status != 200:
                raise ValueError(f"answered {answer.status}")
            text = b""
            async for piece in answer.content.iter_any():
                text += piece
                if len(text) > SET_BYTES:
                    raise ValueError("too large")
            return text

    def _put(self, keys: tuple[Key, ...]) -> None:
        named: dict[tuple[str | None, str], list[Key]] = {}
        unnamed: dict[str, list[Key]] = {}
        for key in keys:
            if key.kid is None:
                unnamed.setdefault(key.algorithm, []).append(key)
            else:
                named.setdefault((key.kid, key.algorithm), []).append(key)
        self._keys, self._named, self._unnamed = keys, named, unnamed
        self._changed()

    def _fail(self, why: str) -> None:
        self._failed()
        if not self._down:
            self._down = True
            self._lost(why)
