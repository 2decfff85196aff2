from __future__ import annotations

from time import monotonic

import pytest

from gateway.exchange import Peer
from tests.http1.reading import asked, exchange, read_request


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/a", b"/a", b""),
        (b"/a?", b"/a", b"?"),
        (b"/a?b=c?d", b"/a", b"?b=c?d"),
        (b"/a%3Fb", b"/a%3Fb", b""),
        (b"*", b"*", b""),
    ],
)
def test_target_is_its_path_and_its_query_mark_and_all(
    target: bytes, path: bytes, query: bytes
) -> None:
    made = exchange(first=b"GET " + target + b" HTTP/1.1")
    assert (made.path, made.query) == (path, query)


def test_exchange_begins_with_what_its_head_and_its_peer_say() -> None:
    before = monotonic()
    made = exchange(address="192.0.2.9")
    assert before <= made.started <= monotonic()
    assert (made.host, made.client_ip) == (b"a.example", b"192.0.2.9")
    assert (made.status, made.error, made.route) == (0, "", None)


def test_exchanges_of_one_head_do_not_share_what_becomes_of_them() -> None:
    head, target = read_request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    one, two = (asked(head, target) for _ in range(2))
    one.host = b"b"
    one.client_ip = b"192.0.2.1"
    assert (two.host, two.client_ip, head.host) == (b"a", b"192.0.2.7", b"a")


def test_peers_address_is_there_in_bytes() -> None:
    assert Peer("2001:db8::1").address_bytes == b"2001:db8::1"
