"""Keys, and the fields of a request that choose among answers."""

from __future__ import annotations

import pytest

from gateway.caching.directives import fields_of
from gateway.caching.vary import key_of, selecting, sent_up, varies
from gateway.exchange import Exchange
from gateway.http1.request import RequestHead


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ((), ()),
        ((b"Vary: Foo, BAR",), (b"bar", b"foo")),
        ((b"Vary: Foo", b"Vary: foo,,"), (b"foo",)),
        ((b"Vary:",), ()),
        ((b"Vary: Host, X-Forwarded-Proto",), ()),
    ],
)
def test_names(lines: tuple[bytes, ...], names: tuple[bytes, ...]) -> None:
    assert varies(fields_of(lines)) == names


@pytest.mark.parametrize(
    "lines",
    [
        (b"Vary: *",),
        (b"Vary: *, *",),
        (b"Vary: , *",),
        (b"Vary:", b"Vary: *"),
        (b"Vary: *, Foo",),
        (b"Vary: Foo, *",),
        (b"Vary: X-Forwarded-For",),
        (b"Vary: X-Request-ID",),
    ],
)
def test_nobody_can_tell(lines: tuple[bytes, ...]) -> None:
    assert varies(fields_of(lines)) is None


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        (b"foo", [b"Foo: 1, 2"], [b"foo: 1", b"FOO:2"]),
        (b"foo", [b"Foo: 1,2"], [b"Foo:  1 , 2 "]),
        (b"foo", [b"Bar: 1"], [b"Other: 2"]),
        (b"accept-language", [b"Accept-Language: en, de"], [b"Accept-Language: De ,eN"]),
        (
            b"accept-encoding",
            [b"Accept-Encoding: gzip;q=1, br"],
            [b"Accept-Encoding: br,gzip; q=1"],
        ),
    ],
)
def test_the_same_is_said(name: bytes, one: list[bytes], other: list[bytes]) -> None:
    assert selecting((name,), one) == selecting((name,), other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([b"Foo: 1"], [b"Foo: 2"]),
        ([b"Foo: 1, 2"], [b"Foo: 2, 1"]),
        ([b"Foo:"], []),
        ([b"Foo: a"], [b"Foo: A"]),
    ],
)
def test_something_else_is_said(one: list[bytes], other: list[bytes]) -> None:
    assert selecting((b"foo",), one) != selecting((b"foo",), other)


def test_values_do_not_run_into_each_other() -> None:
    names = (b"a", b"b")
    assert selecting(names, [b"A: 1", b"B: 2"]) != selecting(names, [b"A: 1\x2b2"])


def test_credentials_cannot_be_read_from_it() -> None:
    assert b"secret" not in selecting((b"authorization",), [b"Authorization: secret"])


@pytest.mark.parametrize(
    ("scheme", "host", "key"),
    [
        (b"http", b"A.test:80", b"http://a.test/X?y"),
        (b"https", b"a.test:443", b"https://a.test/X?y"),
        (b"http", b"a.test:443", b"http://a.test:443/X?y"),
        (b"http", None, b"http:///X?y"),
    ],
)
def test_key(scheme: bytes, host: bytes | None, key: bytes) -> None:
    assert key_of(scheme, host, b"/X", b"?y") == key


class _Client:
    class peer:  # noqa: N801 - as the attribute is called
        address_bytes = b"127.0.0.1"


def test_what_policies_made_of_a_request_chooses() -> None:
    head = RequestHead(b"GET", 1, b"X-User: forged\r\nX_User: forged\r\nA: 1")
    exchange = Exchange(_Client(), head, b"/")  # type: ignore[arg-type]  # as much as is needed
    head.text = b"\r\n".join((*head.received, b""))
    assert sent_up(exchange) == head.lines
    exchange.withheld = frozenset((b"x-user",))
    exchange.upward = (b"X-User: anna",)
    assert sent_up(exchange) == [b"A: 1", b"X-User: anna"]
