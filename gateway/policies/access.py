"""Who may by address: networks that are let in, and networks that are not.

The address is the client's own, as it was found through trusted proxies. The network that fits
it best decides, as in a routing table: `deny: [10.0.0.0/8]` with `allow: [10.1.0.0/16]` lets
10.1.2.3 in. An address in no network is let in, unless there is a list of those who are.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

from gateway.errors import Forbidden
from gateway.exchange import Exchange

Network = IPv4Network | IPv6Network

MAPPED_BITS: Final = 96  # RFC 4291, 2.5.5.2: ::ffff:0:0/96 holds every IPv4 address
MAPPED: Final = IPv6Network("::ffff:0:0/96")


class Access:
    """Remembers its verdicts; bounded, for an IPv6 client has addresses to spare."""

    LIMIT = 8192

    def __init__(self, allow: Iterable[Network], deny: Iterable[Network]) -> None:
        verdicts = {spot(network): True for network in allow}
        self._otherwise = not verdicts
        # A network that stands in both lists is denied.
        verdicts |= {spot(network): False for network in deny}
        self._lengths: dict[int, dict[int, dict[int, bool]]] = {4: {}, 6: {}}
        # By length, longest first: work is bounded by the lengths, not by the lists.
        for (version, open_bits, number), allows in sorted(verdicts.items()):
            self._lengths[version].setdefault(open_bits, {})[number] = allows
        self._verdicts: dict[bytes, bool] = {}

    def enter(self, exchange: Exchange) -> None:
        """Raises `Forbidden`."""
        address = exchange.client_ip
        verdict = self._verdicts.get(address)
        if verdict is None:
            if len(self._verdicts) >= self.LIMIT:
                self._verdicts.clear()
            verdict = self._verdicts[address] = self.allows(address.decode())
        if not verdict:
            raise Forbidden("this address may not ask here")

    def allows(self, text: str) -> bool:
        """Whether this address may; one that cannot be read may where all may."""
        try:
            address = ip_address(text)
        except ValueError:
            return not any(self._lengths.values())
        if address.version == 6 and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        number = int(address)
        for open_bits, networks in self._lengths[address.version].items():
            verdict = networks.get(number >> open_bits)
            if verdict is not None:
                return verdict
        return self._otherwise


def spot(network: Network) -> tuple[int, int, int]:
    """A network's version, how many bits of an address it leaves open, and the others."""
    version, number = network.version, int(network.network_address)
    open_bits = network.max_prefixlen - network.prefixlen
    if network.version == 6 and network.prefixlen >= MAPPED_BITS and network.subnet_of(MAPPED):
        version, number = 4, number & 0xFFFFFFFF
    return version, open_bits, number >> open_bits
