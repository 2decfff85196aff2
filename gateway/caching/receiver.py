"""A client that waits for a flight's answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.caching.wishes import Wishes
from gateway.delivery import Delivery
from gateway.exchange import Exchange, Outlet, Piece


class Carrier(Protocol):
    """The flight, as its receivers see it."""

    def left(self, receiver: Receiver) -> None: ...
    def blocked(self) -> None: ...
    def unblocked(self) -> None: ...


class Receiver:
    """The client's sink until the answer is whole."""

    __slots__ = ("_carrier", "exchange", "outlet", "wishes")

    def __init__(self, carrier: Carrier, exchange: Exchange, wishes: Wishes) -> None:
        self._carrier = carrier
        self.exchange = exchange
        self.wishes = wishes
        self.outlet: Outlet = exchange.outlet or Delivery(exchange)

    def received(self, pieces: Sequence[Piece]) -> None:
        """Nothing: there is no body."""

    def ended(self) -> None:
        """Nothing: there is no body."""

    def blocked(self) -> None:
        self._carrier.blocked()

    def unblocked(self) -> None:
        self._carrier.unblocked()

    def abandoned(self) -> None:
        self._carrier.left(self)

    def going_away(self) -> None:
        """Nothing: an exchange is let finish."""
