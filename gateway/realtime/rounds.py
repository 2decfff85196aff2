"""Whether those who are connected would still be let in: asked again, now and then.

A connection may last longer than what opened it: a token expires, a key is revoked.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final, Protocol

from gateway.deadline import Deadline
from gateway.errors import StoreDown
from gateway.exchange import Exchange

EVERY: Final = 3.0  # seconds; a key's revocation is heard of within two, and is to hold within five


class Guest(Protocol):
    """One who is connected."""

    exchange: Exchange

    def dismiss(self) -> None:
        """It would not be let in any more."""


class Rounds:
    """Goes from one to the next; each is asked for `EVERY` seconds after the last time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: Deadline[Guest] = Deadline(loop, EVERY, self._ask)
        self._waiting: dict[Guest, asyncio.Task[bool]] = {}

    def start(self, guest: Guest) -> None:
        route = guest.exchange.route
        if guest.exchange.principal is not None and route is not None and route.still is not None:
            self._due.start(guest)

    def stop(self, guest: Guest) -> None:
        self._due.stop(guest)
        task = self._waiting.pop(guest, None)
        if task is not None:
            task.cancel()

    def cancel(self) -> None:
        self._due.cancel()
        for task in self._waiting.values():
            task.cancel()

    def _ask(self, guest: Guest) -> None:
        route = guest.exchange.route
        assert route is not None
        assert route.still is not None
        verdict = route.still(guest.exchange)
        if isinstance(verdict, bool):
            self._obey(guest, verdict)
            return
        task = self._waiting[guest] = self._loop.create_task(verdict)
        task.add_done_callback(partial(self._told, guest))

    def _told(self, guest: Guest, task: asyncio.Task[bool]) -> None:
        if task.cancelled():
            return
        del self._waiting[guest]
        try:
            may = task.result()
        except StoreDown:
            may = True  # nobody is turned out because a store is lost
        self._obey(guest, may)

    def _obey(self, guest: Guest, may: bool) -> None:
        if may:
            self._due.start(guest)
        else:
            guest.dismiss()
