"""A route's endpoint when what answers is an upstream.

Three lifetimes, three objects: a `Proxy` lives as long as its route, a `Relay`
(gateway.proxy.relay) as long as one exchange, a `Connection` (gateway.proxy.transport) for many
of them.
"""

from __future__ import annotations

from gateway.exchange import Exchange
from gateway.proxy.relay import Relay
from gateway.proxy.service import Forwarding


class Proxy:
    """Forwards every exchange that it is handed."""

    def __init__(self, forwarding: Forwarding) -> None:
        self.forwarding = forwarding

    def handle(self, exchange: Exchange) -> None:
        Relay(self.forwarding, exchange)  # the client's connection keeps it
