"""Credentials that are none: forged tokens, odd spellings, two at once, those that were good."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway import apikeys
from tests.e2e.stage import field
from tests.e2e.tunnels import HANDSHAKE
from tests.identity.minting import (
    AUDIENCE,
    ISSUER,
    b64,
    compact,
    hmac_with,
    jwk,
    pem,
    rsa_key,
    signer,
)
from tests.security.fortress import (
    KEY_SET,
    PASSWORD,
    PUBLIC,
    SECRET_KEY,
    SHARED,
    STATIC,
    bearer,
    fortress,
    key_line,
    minted,
)

CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "sub": "root", "exp": 4_000_000_000}


def forged(header: Mapping[str, Any], key: bytes = b"", **claims: object) -> bytes:
    """A token of the attacker's, signed as HS256 signs."""
    return compact(header, {**CLAIMS, **claims}, hmac_with(key))


def unsigned(algorithm: str, signature: bytes = b"") -> bytes:
    return compact({"alg": algorithm, "typ": "JWT"}, CLAIMS, lambda message: signature)


def confused() -> Iterator[bytes]:
    """What everybody may know of the public keys, taken for a shared secret."""
    public = rsa_key().public_key()
    pkcs1 = public.public_bytes(Encoding.PEM, PublicFormat.PKCS1)
    modulus = public.public_numbers().n
    known = [
        *(form for name in ("RS256", "ES256", "EdDSA") for form in (pem(name), pem(name).strip())),
        *(json.dumps(jwk(name)).encode() for name in ("RS256", "ES256", "EdDSA")),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        pkcs1,
        modulus.to_bytes(256, "big"),
        str(modulus).encode(),
        KEY_SET,
        b"",
        b"\0",
        b"secret",
        STATIC.encode(),
        SHARED.encode() + b"\1",  # with a zero it would be the same key (RFC 2104, 2)
        SHARED.encode().upper(),
    ]
    for key in known:
        for header in ({"alg": "HS256"}, {"alg": "HS256", "kid": "1"}, {"alg": "RS256"}):
            yield forged(header, key)


def stripped() -> Iterator[bytes]:
    whole = minted("RS256").encode()
    head, payload, signature = whole.split(b".")
    other = minted("RS256", sub="ben").encode().split(b".")
    for name in ("none", "None", "NONE", "nOnE", "", "null"):
        yield from (unsigned(name), unsigned(name, b"x"), unsigned(name)[:-1])
    yield from (head + b"." + payload, head + b"." + payload + b".", b"." + payload + b".")
    yield from (payload + b"." + signature, b".".join((other[0], other[1], signature)))
    yield from (whole[:-1], whole[:-4], whole + b".", whole + b"=", whole + b"\xe2\x80\x8b")
    yield from (whole + b".x.y", b'"' + whole + b'"', whole + b"," + whole, whole + b" " + whole)
    yield from (b"..", b".", b"", b"a.b.c", b"e30.e30.e30", b"%00", whole.replace(b".", b"%2e"))
    parts = {"payload": payload.decode(), "signatures": [{"protected": head.decode()}]}
    yield json.dumps(parts).encode()


def renamed() -> Iterator[bytes]:
    """A true signature under the name of another algorithm, and tokens that bring a key."""
    for name in ("ES256", "EdDSA", "RS384", "RS512", "PS256", "HS384", "HS512", "ES256K", "rs256"):
        for kid in ("1", "2", "3"):
            yield compact({"alg": name, "kid": kid}, CLAIMS, signer("RS256"))
    yield compact({"alg": ["RS256"], "kid": "1"}, CLAIMS, signer("RS256"))
    yield compact(b'{"alg":"RS256","kid":"1","alg":"none"}', CLAIMS, signer("RS256"))
    yield compact(b'{"alg":"none","kid":"1","alg":"RS256"}', CLAIMS, signer("RS256"))
    yield compact({"alg": "ES256", "kid": "3"}, CLAIMS, lambda message: bytes(64))  # CVE-2022-21449
    mine = rsa_key(2049)
    public = {**jwk("RS256"), "n": b64(mine.public_key().public_numbers().n.to_bytes(257)).decode()}
    brought: list[dict[str, Any]] = [
        {"jwk": public},
        {"jku": "http://evil.test/keys"},
        {"x5u": "http://evil.test/x.pem"},
        {"x5c": ["MIIB"]},
        {"kid": "9", "jwk": public},
        {"crit": ["exp"], "exp": 1},
        {"b64": False, "crit": ["b64"]},
        {"typ": "JWE"},
        {"typ": ["JWT"]},
        {"cty": "JWT", "typ": "other"},
    ]
    for more in brought:
        yield compact({"alg": "RS256", "kid": "1", **more}, CLAIMS, signer("RS256", mine))
    for kid in ("../../dev/null", "' OR 1=1 --", "1\0", "1\r\nX: y", "x" * 300, ["1"], 1, {"a": 1}):
        yield forged({"alg": "HS256", "kid": kid})
        yield compact({"alg": "RS256", "kid": kid}, CLAIMS, signer("RS256", mine))


def claiming() -> Iterator[bytes]:
    """Signed by the issuer, and yet not for us, not now, or not of anybody."""
    now = time.time()
    ends: list[object] = [None, now - 60, "4000000000", True, [4e9], "", -1, 1e400]
    yield from (minted("RS256", exp=end).encode() for end in ends)
    begins: list[object] = [now + 600, "0", True, 1e400]
    yield from (minted("RS256", nbf=begin).encode() for begin in begins)
    issuers: list[object] = [None, "gateway", [ISSUER], ISSUER + "/", ISSUER.upper(), ""]
    yield from (minted("RS256", iss=issuer).encode() for issuer in issuers)
    audiences: list[object] = [
        None,
        "",
        [],
        ["x"],
        "x",
        {AUDIENCE: 1},
        AUDIENCE + "/",
        [[AUDIENCE]],
    ]
    yield from (minted("RS256", aud=audience).encode() for audience in audiences)
    subjects: list[object] = [None, "", 1, ["ann"], "x" * 257, "a\nb", "a\0", "a\u202eb", "a\ud800"]
    yield from (minted("RS256", sub=subject).encode() for subject in subjects)
    secrets = {"gateway": SHARED, ISSUER: SECRET_KEY, "": SHARED, "other": SHARED}
    for issuer, secret in secrets.items():  # whose key it is says whose name it may hold
        yield forged({"alg": "HS256"}, secret.encode(), iss=issuer)
        yield forged({"alg": "HS256"}, secret.encode(), iss=issuer, aud=issuer)


@cache
def all_forged() -> tuple[bytes, ...]:
    return (*confused(), *stripped(), *renamed(), *claiming())


async def test_forged_token_opens_nothing(embedded: dict[str, str]) -> None:
    async with fortress(embedded) as made:
        for each in all_forged():
            for line in (bearer(each), b"authorization: BEARER  " + each):
                status, head, _ = await made.get(line, path=b"/plain/x")
                assert status == 401, each
                assert b"www-authenticate" in head.lower()
        assert made.went_up() == []
        # And yet each algorithm has tokens that are good.
        for name in ("RS256", "ES256", "EdDSA"):
            assert await made.status(bearer(minted(name)), path=b"/plain/x") == 200
        good = forged({"alg": "HS256"}, SHARED.encode())
        assert await made.status(bearer(good), path=b"/plain/x") == 200


async def test_forged_token_is_no_scope_either(embedded: dict[str, str]) -> None:
    """The endpoints of administrators: who is not one is told so, whatever he says of himself."""
    async with fortress(embedded) as made:
        lists: list[object] = [["Admin"], "admin,x", {"admin": True}, [["admin"]], "x-admin"]
        for scope in lists:
            line = bearer(minted(scope=scope, scopes="", scp=None, roles=["admin"], admin=True))
            assert await made.status(line, path=b"/api/gateway/keys") == 403
        assert await made.status(bearer(STATIC), path=b"/api/gateway/keys") == 403
        key = await made.key("enterprise", "ADMIN", "admin.", "administrator")
        assert await made.status(key_line(key), path=b"/api/gateway/keys") == 403
        forgery = forged({"alg": "none"}, scope="admin")
        assert await made.status(bearer(forgery), path=b"/api/gateway/keys") == 401


NO_WEBSOCKETS: tuple[tuple[bytes, tuple[bytes, ...]], ...] = (
    (b"GET", ()),
    (b"HEAD", ()),
    (b"POST", ()),
    (b"GET", (b"Upgrade: websocket",)),
    (b"GET", (b"Connection: Upgrade",)),
    (b"GET", (b"Connection: Upgrade", b"Upgrade: h2c")),
    (b"GET", (b"Connection: close", b"Upgrade: websocket")),
    (b"GET", (b"Connection: Upgrade", b"Upgrade: websocket", b"Upgrade: websocket")),
    (b"GET", (b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 1")),
    (b"POST", (b"Connection: Upgrade", b"Upgrade: websocket")),
    (b"GET", (b"Sec-WebSocket-Key: x", b"Sec-WebSocket-Version: 13")),
)


async def test_token_in_the_query_is_a_websockets_alone(embedded: dict[str, str]) -> None:
    async with fortress(embedded) as made:
        good = minted().encode()
        for method, lines in NO_WEBSOCKETS:
            for name in (b"token", b"Token", b"access_token", b"a&token", b"jwt"):
                path = b"/api/x?" + name + b"=" + good
                body = b"x" if b"Content-Length: 1" in lines else b""
                more = [line for line in lines if not body or b"Length" not in line]
                assert await made.status(*more, path=path, method=method, body=body) == 401
        key = await made.key()
        upgrade = [*HANDSHAKE.split(b"\r\n")[:-1], b"Connection: Upgrade", b"Upgrade: websocket"]
        for query in (
            b"?api_key=" + key.encode(),
            b"?token=" + key.encode(),
            b"?token=" + STATIC.encode(),
            b"?Token=" + good,
            b"?access_token=" + good,
            b"?%74oken=" + good,
            b"?token=" + good + b"&token=" + good,
            b"?token=" + good + b"&token=",
            b"?token=&token=" + good,
            b"?token=Bearer+" + good,
            b"?token%3d" + good,
            b"?x;token=" + good,
            b"?",
        ):
            assert await made.status(*upgrade, path=b"/api/x" + query) == 401, query
        assert made.went_up() == []


async def test_token_in_the_query_goes_no_further_than_the_gateway(
    embedded: dict[str, str],
) -> None:
    async with fortress(embedded) as made:
        good = minted().encode()
        upgrade = [*HANDSHAKE.split(b"\r\n")[:-1], b"Connection: Upgrade", b"Upgrade: websocket"]
        for lines in ((), (b"Authorization: Basic eDp5",)):
            path = b"/api/x?a=1&token=" + good + b"&b=2"
            assert await made.status(*upgrade, *lines, path=path) == 200
            (head,) = made.went_up()
            assert head.startswith(b"GET /api/x?a=1&b=2 ")
            assert field(head, b"authorization") == b"Bearer " + good


async def test_of_two_credentials_none_is_taken_on_trust(embedded: dict[str, str]) -> None:
    async with fortress(embedded) as made:
        key, token = await made.key(), minted(email="ann@a.test")
        unknown = apikeys.make(lambda letters: letters[5])
        forgery = forged({"alg": "none"}, email="root@a.test").decode()
        for first, second, status in (
            (key_line(key), bearer(token), 200),
            (key_line(key), bearer(forgery), 200),  # the key opens; the token is nobody's word
            (key_line(unknown), bearer(token), 401),
            (key_line("x"), bearer(token), 401),
            (key_line(""), bearer(token), 401),
            (key_line(unknown), bearer(STATIC), 401),
            (key_line(key), key_line(key), 400),
            (key_line(key), key_line(unknown), 400),
            (bearer(token), bearer(forgery), 400),
            (bearer(token), bearer(token), 400),
            (bearer(STATIC), b"Authorization: Basic eDp5", 400),
        ):
            for lines in ((first, second), (second, first), (first, b"X-A: 1", second.lower())):
                if lines[-1] != second and lines[-1] != first and status != 400:
                    continue  # in lower case the value is another one
                assert await made.status(*lines) == status, lines
                for head in made.went_up():
                    assert forgery.encode() not in head
                    assert b"root" not in head
                    assert token.encode() not in head
        basic = b"Authorization: Basic eDp5"  # no credential of ours: the service's own affair
        assert await made.status(key_line(key), basic) == 200
        assert basic in made.went_up()[0]


async def test_key_has_one_spelling(embedded: dict[str, str]) -> None:
    async with fortress(embedded) as made:
        key = (await made.key()).encode()
        for line in (b"x-api-key: " + key, b"X-API-KEY:" + key, b"X-aPi-KeY: \t " + key + b" \t"):
            assert await made.status(line, path=b"/plain/x") == 200
        made.went_up()
        spelled = (
            key.upper(), key.lower(), key.swapcase(), key[:-1], key + b"A", key[1:], b"gwk_",
            b'"' + key + b'"', b"'" + key + b"'", b"%67" + key[1:], key + b"," + key, key + b";",
            key + b" " + key, key + b"\xa0", b"\xef\xbb\xbf" + key, key[:4] + b" " + key[4:],
            b"Bearer " + key, b"ApiKey " + key, key[:4] + b"-" + key[5:], key.replace(b"_", b"%5f"),
            hashlib.sha256(key).hexdigest().encode(), hashlib.md5(key).hexdigest().encode(),
            b"null", b"*", b"' OR '1'='1", b"gwk_" + b"%" * 38, b"gwk_" + b"_" * 38,
        )  # fmt: skip
        for value in spelled:
            if value != key:
                assert await made.status(b"X-API-Key: " + value, path=b"/plain/x") == 401, value
        named = (
            b"X_API_Key", b"X-API_Key", b"X_API-KEY", b"X-ApiKey", b"Api-Key", b"ApiKey", b"X-Key",
            b"X-API-Key-", b"X-API-Keys", b"X-API-Token", b"Proxy-Authorization",
        )  # fmt: skip
        for name in named:
            assert await made.status(name + b": " + key, path=b"/plain/x") == 401, name
        for lines in (
            (b"Authorization: Bearer " + key,),
            (b"Authorization: ApiKey " + key,),
            (b"Authorization: " + key,),
            (b"Cookie: X-API-Key=" + key,),
            (b"Referer: https://a.test/?api_key=" + key,),
        ):
            assert await made.status(*lines, path=b"/plain/x") == 401, lines
        assert await made.status(path=b"/plain/x?X-API-Key=" + key) == 401
        for line in (b"X-API-Key : " + key, b"X-API-Key\x00: " + key, b" X-API-Key: " + key,
                     b"X-A: 1\nX-API-Key: " + key, b"X-A: 1\r\n X-API-Key: " + key):  # fmt: skip
            assert await made.status(line, path=b"/plain/x") == 400, line
        assert made.went_up() == []


async def test_nothing_that_looks_like_the_key_goes_up_beside_it(embedded: dict[str, str]) -> None:
    """To a WSGI service, X_API_Key is the field that was checked here."""
    async with fortress(embedded) as made:
        key = await made.key()
        for line in (b"X_API_Key: other", b"x-api_key: other", b"X_API-KEY: other"):
            assert await made.status(key_line(key), line, path=b"/plain/x") == 200
            (head,) = made.went_up()
            assert b"other" not in head, line
        # Nor can a client have it taken away behind the gateway's back.
        named = b"Connection: X-API-Key, Authorization"
        assert await made.status(key_line(key), named, path=b"/plain/x") == 200
        assert field(made.went_up()[0], b"x-api-key") == key.encode()


async def test_key_that_was_good_is_forgotten_when_it_is_not(either: dict[str, str]) -> None:
    """What a worker remembers is what it has to forget: by what is said every two seconds."""
    async with fortress(either) as made:
        (revoked, first), (rotated, second) = [
            await made.ring.create("ann", "pro", (), None) for _ in range(2)
        ]
        brief = await made.key(lifetime=600)
        keys = {name: key_line(key) for name, key in (("r", first), ("o", second), ("e", brief))}
        for line in keys.values():
            assert await made.status(line) == 200
        await made.ring.revoke(revoked.id)
        _, successor = await made.ring.rotate(rotated.id, 0)
        await made.known_keys.refresh()
        assert await made.status(keys["r"]) == 401
        assert await made.status(keys["o"]) == 401
        assert await made.status(key_line(successor)) == 200
        made.known_keys._clock = lambda: time.time() + 600  # what is remembered ends by itself
        assert await made.status(keys["e"]) == 401
        # And a good answer that the cache holds is not for them.
        made.origin.says(PUBLIC)
        path = b"/api/public"
        assert await made.status(key_line(successor), path=path) == 200
        assert await made.status(keys["r"], path=path) == 401
        assert await made.status(path=path) == 401


async def test_key_that_is_revoked_during_its_look_up_is_not_remembered(
    either: dict[str, str],
) -> None:
    async with fortress(either) as made:
        stored, key = await made.ring.create("ann", "pro", (), None)
        await made.known_keys.refresh()
        keys = made.stage.gateway._edge._stored_keys()
        found = keys.find

        async def slowly(digests: Any) -> Any:
            answer = await found(digests)
            await made.ring.revoke(stored.id)
            await made.known_keys.refresh()
            return answer

        keys.find = slowly  # type: ignore[method-assign]
        assert await made.status(key_line(key)) in (200, 401)
        keys.find = found  # type: ignore[method-assign]
        assert await made.status(key_line(key)) == 401


async def test_user_who_is_disabled_has_no_way_in(either: dict[str, str]) -> None:
    async with fortress(either) as made:
        given = {"username": "ann", "password": PASSWORD}
        status, _, tokens = await made.post("/auth/login", given)
        assert status == 200
        line = bearer(tokens["access_token"])
        assert await made.status(line) == 200  # remembered from here on
        await made.users.disable("ann", int(time.time() * 1000))
        barred = made.identities._disabled
        assert barred is not None
        await barred.look()
        assert await made.status(line) == 401
        assert (await made.post("/auth/login", given))[0] == 401
        for token in (tokens["refresh_token"], tokens["refresh_token"]):
            assert (await made.post("/auth/refresh", {"refresh_token": token}))[0] == 401


async def test_refresh_and_access_tokens_are_not_each_other(embedded: dict[str, str]) -> None:
    async with fortress(embedded) as made:
        _, _, tokens = await made.post("/auth/login", {"username": "ann", "password": PASSWORD})
        access, refresh = tokens["access_token"], tokens["refresh_token"]
        assert await made.status(bearer(refresh)) == 401
        assert await made.status(key_line(refresh)) == 401
        for wrong in (access, refresh.upper(), refresh + "x", refresh[4:], " " + refresh, "gwr_"):
            assert (await made.post("/auth/refresh", {"refresh_token": wrong}))[0] == 401
        assert (await made.post("/auth/refresh", {"refresh_token": refresh}))[0] == 200
