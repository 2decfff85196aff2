from __future__ import annotations

from ipaddress import IPv4Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Forbidden
from gateway.policies.access import Access
from tests.http1.reading import exchange


def access(allow: str = "", deny: str = "") -> Access:
    return Access(
        [ip_network(each) for each in allow.split()], [ip_network(each) for each in deny.split()]
    )


@pytest.mark.parametrize(
    ("allow", "deny", "address", "allowed"),
    [
        ("10.0.0.0/8", "", "10.1.2.3", True),
        ("10.0.0.0/8", "", "11.1.2.3", False),
        ("", "10.0.0.0/8", "10.1.2.3", False),
        ("", "10.0.0.0/8", "11.1.2.3", True),
        ("", "", "11.1.2.3", True),
        ("10.1.0.0/16", "10.0.0.0/8", "10.1.2.3", True),
        ("10.1.0.0/16", "10.0.0.0/8", "10.2.2.3", False),
        ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", False),
        ("10.0.0.0/8 10.1.2.3/32", "10.1.0.0/16", "10.1.2.3", True),
        ("10.0.0.0/8", "10.0.0.0/8", "10.1.2.3", False),
        ("10.0.0.0/8", "", "2001:db8::1", False),
        ("", "0.0.0.0/0", "2001:db8::1", True),
        ("", "0.0.0.0/0 ::/0", "2001:db8::1", False),
        ("2001:db8::/32", "", "2001:db8::1", True),
        ("2001:db8::/32", "", "2001:db9::1", False),
        ("2001:db8::5/128", "", "2001:db8::5", True),
        ("2001:db8::5/128", "", "0.0.0.5", False),
        ("fe80::/10", "", "fe80::1%eth0", True),
    ],
)
def test_smallest_network_with_the_address_decides(
    allow: str, deny: str, address: str, allowed: bool
) -> None:
    assert access(allow, deny).allows(address) is allowed


@pytest.mark.parametrize(
    ("allow", "address", "allowed"),
    [
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("::ffff:10.0.0.0/104", "10.1.2.3", True),
        ("::ffff:10.0.0.0/104", "::ffff:10.1.2.3", True),
        ("::ffff:0:0/96", "192.0.2.1", True),
        ("::ffff:10.0.0.0/104", "11.1.2.3", False),
        ("::/0", "10.1.2.3", False),
        ("::/0", "::ffff:10.1.2.3", False),
    ],
)
def test_ipv4_address_written_as_ipv6_is_the_same(allow: str, address: str, allowed: bool) -> None:
    assert access(allow).allows(address) is allowed


@pytest.mark.parametrize(
    ("allow", "deny", "allowed"),
    [("", "", True), ("10.0.0.0/8", "", False), ("", "10.0.0.0/8", False)],
)
def test_what_is_no_address_may_only_where_all_may(allow: str, deny: str, allowed: bool) -> None:
    assert access(allow, deny).allows("unix") is allowed


def test_request_is_let_in_or_refused_by_its_clients_address() -> None:
    policy = access(deny="192.0.2.0/24")
    policy.enter(exchange(address="198.51.100.1"))
    for _ in range(2):  # the second time from memory
        with pytest.raises(Forbidden):
            policy.enter(exchange(address="192.0.2.9"))


def test_address_is_the_one_that_a_trusted_peer_named() -> None:
    asked = exchange(address="192.0.2.9", trusted=True)
    asked.client_ip = b"198.51.100.1"
    access(deny="192.0.2.0/24").enter(asked)


def test_memory_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Access, "LIMIT", 4)
    policy = access(allow="10.0.0.0/8")
    for number in range(9):
        policy.enter(exchange(address=f"10.0.0.{number}"))
    assert len(policy._verdicts) == 1


NETWORKS = st.lists(
    st.builds(
        lambda number, length: ip_network((number, length), strict=False),
        st.integers(0, 2**32 - 1) | st.integers(0x0A000000, 0x0A0000FF),
        st.integers(0, 32),
    ),
    max_size=6,
)


@given(NETWORKS, NETWORKS, st.integers(0x0A000000, 0x0A0000FF) | st.integers(0, 2**32 - 1))
def test_verdict_is_that_of_a_search_through_all(
    allow: list[IPv4Network], deny: list[IPv4Network], number: int
) -> None:
    address = ip_address(number)
    found = [(each.prefixlen, each not in deny) for each in (*allow, *deny) if address in each]
    expected = max(found, key=lambda each: each[0])[1] if found else not allow
    assert Access(allow, deny).allows(str(address)) is expected
