from __future__ import annotations

from collections.abc import Coroutine, Sequence
from types import MappingProxyType
from typing import Any, cast

import pytest

from gateway.errors import StoreDown, Unauthorized
from gateway.exchange import Exchange, Principal, Route
from gateway.http1.request import parse_request
from gateway.identity import jose
from gateway.identity.verify import Issuer, Verifier
from gateway.policies import jwt as module
from gateway.policies.jwt import Claims, Jwt, field_value
from tests.http1.reading import LIMITS, asked, exchange, values
from tests.identity.minting import AUDIENCE, ISSUER, NOW, jwk, jwks, token


class Keys:
    """A set that can be renewed once, by these keys."""

    def __init__(self, *later: jose.Key, problem: Exception | None = None) -> None:
        self.keys: Sequence[jose.Key] = jose.read_set(jwks(jwk("EdDSA", kid="1")))
        self.asked = 0
        self._later = later
        self._problem = problem

    def find(self, kid: str | None, algorithm: str) -> Sequence[jose.Key]:
        return [k for k in self.keys if k.algorithm == algorithm and kid in (None, k.kid)]

    async def renew(self) -> None:
        self.asked += 1
        if self._problem is not None:
            raise self._problem
        self.keys = self._later


class Scene:
    """The policy with a clock of the test's own, and the reasons that it counted."""

    def __init__(self, keys: Keys | None = None) -> None:
        self.now = NOW
        self.keys = keys or Keys()
        self.reasons: list[str] = []
        issuer = Issuer(ISSUER, ("EdDSA",), self.keys, frozenset({AUDIENCE}))
        verifier = Verifier([issuer])
        self.verified = 0

        class Counting(Verifier):
            def verify(inner, token: bytes, now: float) -> Any:  # noqa: N805
                self.verified += 1
                return verifier.verify(token, now)

        self.jwt = Jwt(Counting([]), failed=self.reasons.append, clock=lambda: self.now)

    def ask(self, *lines: bytes, **more: Any) -> Any:
        return self.jwt.authenticate(exchange(*lines, **more))

    def refused(self, *lines: bytes, **more: Any) -> Unauthorized:
        with pytest.raises(Unauthorized) as caught:
            self.ask(*lines, **more)
        return caught.value


def with_token(made: bytes) -> bytes:
    return b"Authorization: Bearer " + made


def upgrade(target: bytes, *lines: bytes) -> Exchange:
    data = b"\r\n".join(
        (b"GET " + target + b" HTTP/1.1", b"Host: a", b"Connection: Upgrade",
         b"Upgrade: websocket", *lines, b"", b"")
    )  # fmt: skip
    head, sent = parse_request(data, data.index(b"\r\n\r\n"), LIMITS)
    return asked(head, sent)


@pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer ", b"BEARER  "])
def test_token_says_who_asks(scheme: bytes) -> None:
    principal = Scene().ask(b"Authorization: " + scheme + token("EdDSA"))
    assert (principal.kind, principal.id) == ("jwt", "ann")


@pytest.mark.parametrize(
    "line", [b"Authorization: Basic YTpi", b"Authorization: Bearer", b"X-A: b"]
)
def test_request_without_a_token_is_nobodys(line: bytes) -> None:
    made = Scene()
    assert made.ask(line) is None
    assert made.reasons == []


def test_token_is_verified_once_and_remembered() -> None:
    made = Scene()
    line = with_token(token("EdDSA"))
    assert made.ask(line) is made.ask(line)
    assert made.verified == 1


def test_what_is_remembered_ends_with_the_token() -> None:
    made = Scene()
    line = with_token(token("EdDSA", exp=NOW + 10))
    made.ask(line)
    made.now = NOW + 9.9
    made.ask(line)
    made.now = NOW + 10
    error = made.refused(line)
    assert made.reasons == ["expired"]
    assert values(error.fields, b"www-authenticate") == [
        b'Bearer error="invalid_token", error_description="the token has expired"'
    ]


def test_what_is_remembered_is_forgotten_when_the_keys_are_others() -> None:
    made = Scene()
    line = with_token(token("EdDSA"))
    made.ask(line)
    made.jwt.forget()
    made.ask(line)
    assert made.verified == 2


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 2)
    made = Scene()
    lines = [with_token(token("EdDSA", jti=n)) for n in range(3)]
    for line in (*lines, *lines[1:]):
        made.ask(line)
    assert made.verified == 3
    made.ask(lines[0])
    assert made.verified == 4


def test_refused_tokens_are_not_remembered() -> None:
    made = Scene()
    for _ in range(2):
        made.refused(with_token(token("EdDSA", aud="other")))
    assert (made.verified, made.reasons) == (2, ["audience", "audience"])


@pytest.mark.parametrize("made", [b"x", b"", b"a.b.c", token("RS256")])
def test_refusal_says_what_to_bring_and_not_why(made: bytes) -> None:
    error = Scene().refused(b"Authorization: Bearer " + made + b" x")
    assert (error.status, error.message) == (401, "the token is not valid")
    assert values(error.fields, b"www-authenticate") == [
        b'Bearer error="invalid_token", error_description="the token is not valid"'
    ]


async def test_unknown_key_is_asked_for_and_the_token_then_good() -> None:
    (later,) = jose.read_set(jwks(jwk("EdDSA", kid="2")))
    made = Scene(Keys(later))
    line = with_token(token("EdDSA", kid="2"))
    waiting = made.ask(line)
    assert isinstance(waiting, Coroutine)
    principal = await waiting
    assert principal.id == "ann"
    assert made.ask(line) is principal
    assert (made.keys.asked, made.reasons) == (1, [])


async def test_key_that_stays_unknown_is_refused() -> None:
    made = Scene(Keys())
    with pytest.raises(Unauthorized):
        await made.ask(with_token(token("EdDSA", kid="2")))
    assert made.reasons == ["unknown_key"]


async def test_keys_that_cannot_be_had_are_no_fault_of_the_token() -> None:
    made = Scene(Keys(problem=StoreDown()))
    with pytest.raises(StoreDown):
        await made.ask(with_token(token("EdDSA", kid="2")))
    assert made.reasons == []


# ---------------------------------------------------------------------------- in the query


@pytest.mark.parametrize(
    ("before", "behind", "rest"),
    [
        (b"", b"", b""),
        (b"a=b&", b"", b"?a=b"),
        (b"", b"&a=b&c", b"?a=b&c"),
        (b"a&", b"&b", b"?a&b"),
    ],
)
def test_token_in_a_websockets_query_is_moved_to_where_it_belongs(
    before: bytes, behind: bytes, rest: bytes
) -> None:
    good = token("EdDSA")
    made = upgrade(b"/ws?" + before + b"token=" + good + behind, b"Authorization: Basic YTpi")
    principal = Scene().jwt.authenticate(made)
    assert isinstance(principal, Principal)
    assert made.query == rest
    assert made.upward == (b"Authorization: Bearer " + good,)
    assert b"authorization" in made.withheld


def test_token_in_another_requests_query_is_not_looked_at() -> None:
    target = b"/p?token=" + token("EdDSA")
    made = exchange(first=b"GET " + target + b" HTTP/1.1")
    assert Scene().jwt.authenticate(made) is None
    assert made.query == target[2:]


def test_route_may_take_the_token_from_the_query_of_any_request() -> None:
    made = exchange(first=b"GET /p?a=b&token=" + token("EdDSA") + b" HTTP/1.1")
    made.route = Route("live", cast("Any", None), cast("Any", None), b"/p", query_token=True)
    assert isinstance(Scene().jwt.authenticate(made), Principal)
    assert made.query == b"?a=b"


def test_token_that_was_moved_is_found_again() -> None:
    made = upgrade(b"/ws?a=b&token=" + token("EdDSA"))
    scene = Scene()
    assert scene.jwt.authenticate(made) is scene.jwt.authenticate(made)
    made.upward = (b"X-User: ann",)
    assert scene.jwt.authenticate(made) is None


def test_header_is_what_counts_where_there_are_both() -> None:
    made = upgrade(b"/ws?token=x", with_token(token("EdDSA")))
    assert isinstance(Scene().jwt.authenticate(made), Principal)
    assert (made.query, made.upward) == (b"?token=x", ())


@pytest.mark.parametrize("query", [b"", b"?", b"?a=b", b"?atoken=x", b"?TOKEN=x", b"?a=token=x"])
def test_websocket_without_a_token_is_nobodys(query: bytes) -> None:
    made = upgrade(b"/ws" + query)
    assert Scene().jwt.authenticate(made) is None
    assert made.query == query


@pytest.mark.parametrize("query", [b"token=", b"token=%s&token=%s", b"token=%s&token="])
def test_two_tokens_in_a_query_are_none(query: bytes) -> None:
    made = upgrade(b"/ws?" + query.replace(b"%s", token("EdDSA")))
    with pytest.raises(Unauthorized):
        Scene().jwt.authenticate(made)


# --------------------------------------------------------------------------------- claims


def principal(**claims: object) -> Principal:
    return Principal("jwt", "ann", claims=MappingProxyType(claims))


def entered(claims: Claims, who: Principal | None) -> Exchange:
    made = exchange()
    made.upward = (b"A: b",)
    made.withheld = frozenset({b"x-other"})
    made.principal = who
    claims.enter(made)
    return made


WANTED = Claims({"sub": "X-User-Id", "email": "X_User_Email"})


def test_claims_go_upstream_under_their_headers_names() -> None:
    made = entered(WANTED, principal(sub="ann", email="a@b", other="c"))
    assert made.upward == (b"A: b", b"X-User-Id: ann", b"X_User_Email: a@b")


@pytest.mark.parametrize("who", [None, Principal("api_key", "k1"), principal(sub="ann")])
def test_clients_own_are_withheld_whoever_asks(who: Principal | None) -> None:
    made = entered(WANTED, who)
    assert made.withheld == {b"x-other", b"x-user-id", b"x-user-email"}
    assert b"X_User_Email: " not in b"".join(made.upward)


def test_lines_are_made_once_for_one_who_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = Claims({"sub": "X-User-Id"})
    calls: list[object] = []
    lines = claims.lines

    def counted(of: Any) -> tuple[bytes, ...]:
        calls.append(of)
        return lines(of)

    monkeypatch.setattr(claims, "lines", counted)
    monkeypatch.setattr(module, "REMEMBERED", 2)
    ann, ben, cid = (principal(sub=name) for name in ("ann", "ben", "cid"))
    for who, name in ((ann, b"ann"), (ben, b"ben"), (ann, b"ann"), (cid, b"cid"), (ann, b"ann")):
        assert entered(claims, who).upward[1:] == (b"X-User-Id: " + name,)
    assert len(calls) == 4


VALUES: list[tuple[object, bytes]] = [
    ("ann", b"ann"),
    ("Zoë Ø", "Zoë Ø".encode()),
    (7, b"7"),
    (-1.5, b"-1.5"),
    (True, b"true"),
    (False, b"false"),
    (["a", "b", 3], b"a,b,3"),
    ({"a": ["b\r\n"]}, rb'{"a":["b\r\n"]}'),
    ({"é": 1}, rb'{"\u00e9":1}'),
    (None, b""),
    ("", b""),
    ([], b""),
    ({}, b"{}"),
    (float("inf"), b""),
    ("a\r\nX-Admin: 1", b""),
    ("a\nb", b""),
    ("a\tb", b""),
    ("a\0", b""),
    ("a\x7f", b""),
    ("a\x85", b""),
    ("a\u2028b", b""),
    ("a\u200bb", b""),
    ("a\xa0b", b""),
    ("\ud800", b""),
    (" admin", b""),
    ("admin ", b""),
    (["a", "b,admin"], b""),
    (["a", ["b", "c"]], b""),
    (["a", "b\n"], b""),
    (["a", None], b""),
    (["a", {"b": 1, "c": 2}], b""),
    ("a" * 4096, b"a" * 4096),
    ("a" * 4097, b""),
    ("é" * 2049, b""),
]


@pytest.mark.parametrize(("claim", "value"), VALUES)
def test_claim_is_a_headers_value_whole_or_not_at_all(claim: object, value: bytes) -> None:
    assert field_value(claim) == value
    sent = Claims({"c": "X-C"}).lines({"c": claim})
    assert sent == ((b"X-C: " + value,) if value else ())


def test_claim_that_is_not_there_is_not_sent() -> None:
    assert WANTED.lines({}) == ()
    assert cast(Any, WANTED.lines({"sub": "a"})) == (b"X-User-Id: a",)
