from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import aiohttp_cors
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import Forbidden
from gateway.exchange import Response
from gateway.headers import separate
from gateway.policies.cors import Cors, Origins, Unrouted
from tests.http1.reading import exchange, values

ORIGIN = b"https://app.example.com"
ALLOW_ORIGIN = b"access-control-allow-origin"


def lines_for(rule: Cors, origin: bytes | None, *more: bytes) -> tuple[bytes, ...]:
    """What an answer carries for a request of this origin."""
    asked = exchange(*(() if origin is None else (b"Origin: " + origin,)), *more)
    assert rule.enter(asked) is None
    return tuple(separate(asked.lines))


def preflight(
    rule: Cors, *more: bytes, origin: bytes = ORIGIN, method: bytes = b"PUT"
) -> tuple[bytes, ...]:
    asked = exchange(
        b"Origin: " + origin,
        b"Access-Control-Request-Method: " + method,
        *more,
        first=b"OPTIONS /p HTTP/1.1",
    )
    answer = rule.enter(asked)
    assert isinstance(answer, Response)
    assert (answer.status, answer.body) == (204, b"")
    return (*answer.lines, *separate(asked.lines))


# ---------------------------------------------------------------------------- which origins


@pytest.mark.parametrize(
    ("listed", "origin"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("https://*.example.com", "https://a.example.com"),
        ("https://*.example.com", "https://a.b-c.d_e.example.com"),
        ("https://*.example.com:8443", "https://x.example.com:8443"),
        ("https://*.example.com:*", "https://x.example.com:8443"),
        ("https://*.example.com:*", "https://x.example.com"),
        ("http://localhost:*", "http://localhost:5173"),
        ("http://localhost:*", "http://localhost"),
        ("http://[::1]:*", "http://[::1]:3000"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("null", "null"),
    ],
)
def test_listed_origin_may(listed: str, origin: str) -> None:
    assert origin.encode() in Origins([listed])


@pytest.mark.parametrize(
    ("listed", "origin"),
    [
        ("https://app.example.com", "http://app.example.com"),
        ("https://app.example.com", "https://app.example.com:443"),
        ("https://app.example.com", "https://APP.example.com"),
        ("https://app.example.com", "https://app.example.com/"),
        ("https://*.example.com", "https://example.com"),
        ("https://*.example.com", "https://evil-example.com"),
        ("https://*.example.com", "https://evilexample.com"),
        ("https://*.example.com", "https://.example.com"),
        ("https://*.example.com", "https://a..example.com"),
        ("https://*.example.com", "https://a.example.com.evil.org"),
        ("https://*.example.com", "https://a.example.com:8443"),
        ("https://*.example.com", "https://a.example.com@evil.org"),
        ("https://*.example.com", "https://evil.org/a.example.com"),
        ("https://*.example.com", "https://evil.org#a.example.com"),
        ("https://*.example.com", "https://a.exampleXcom"),
        ("https://*.example.com", "https://A.example.com"),
        ("https://*.example.com", "https://é.example.com"),
        ("https://*.example.com", "https://a.example.com\n"),
        ("https://*.example.com", "xhttps://a.example.com"),
        ("https://*.example.com", "http://a.example.com"),
        ("https://*.example.com:*", "https://a.example.com:"),
        ("https://*.example.com:*", "https://a.example.com:080"),
        ("https://*.example.com:*", "https://a.example.com:80:80"),
        ("https://*.example.com:*", "https://a.example.com:8080.evil.org"),
        ("http://localhost:*", "http://localhost.evil.org:80"),
        ("http://localhost:*", "http://a.localhost:80"),
        ("https://app.example.com", "null"),
        ("https://*.example.com", "null"),
        ("https://app.example.com", ""),
    ],
)
def test_other_origin_may_not(listed: str, origin: str) -> None:
    assert origin.encode() not in Origins([listed])


LABEL = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
HOST = st.lists(LABEL, min_size=1, max_size=4).map(".".join)
TAIL = st.from_regex(r"[a-z0-9.:@/#?*-]{0,12}", fullmatch=True)


@given(st.lists(LABEL, min_size=1, max_size=5), HOST)
def test_pattern_has_every_name_below_its_own_and_not_that(below: list[str], host: str) -> None:
    origins = Origins([f"https://*.{host}"])
    assert f"https://{'.'.join(below)}.{host}".encode() in origins
    assert f"https://{host}".encode() not in origins


@given(HOST, TAIL, TAIL)
@example("example.com", "evil-", "")
@example("example.com", "a.", ".evil.org")
@example("example.com", "a.", ":8443")
@example("example.com", "evil.org/.", "")
def test_whatever_a_pattern_lets_in_is_a_name_below(host: str, before: str, behind: str) -> None:
    """What was let in is taken apart by other means than it was let in by."""
    origin = f"https://{before}{host}{behind}"
    if origin.encode() not in Origins([f"https://*.{host}"]):
        return
    scheme, _, rest = origin.partition("://")
    assert scheme == "https"
    assert not set(rest) & set(":/@#?*")
    labels, wanted = rest.split("."), host.split(".")
    assert all(labels)
    assert labels[-len(wanted) :] == wanted
    assert len(labels) > len(wanted)


@given(st.binary(max_size=300))
def test_no_bytes_upset_a_pattern(origin: bytes) -> None:
    assert origin not in Origins(["https://*.example.com:*"])


def test_long_origin_is_decided_quickly() -> None:
    labels = b"https://" + b"a." * 4000 + b"example.co"
    assert labels not in Origins(["https://*.example.com"])


# --------------------------------------------------------------------------- what is said


def test_answer_to_a_listed_origin_can_be_read() -> None:
    lines = lines_for(Cors(["https://app.example.com"]), ORIGIN)
    assert values(lines, ALLOW_ORIGIN) == [ORIGIN]
    assert values(lines, b"vary") == [b"Origin"]
    (exposed,) = values(lines, b"access-control-expose-headers")
    assert {b"X-Request-ID", b"X-RateLimit-Remaining"} <= set(exposed.split(b", "))


@pytest.mark.parametrize("origin", [None, b"https://evil.example", b"null", b""])
def test_answer_to_others_cannot_and_still_varies(origin: bytes | None) -> None:
    assert lines_for(Cors(["https://app.example.com"]), origin) == (b"Vary: Origin",)


def test_request_with_two_origins_has_none() -> None:
    lines = lines_for(Cors(["https://app.example.com"]), ORIGIN, b"origin: " + ORIGIN)
    assert lines == (b"Vary: Origin",)


@pytest.mark.parametrize("name", [b"Origin", b"origin", b"ORIGIN"])
def test_origins_field_is_found_in_any_case_and_place(name: bytes) -> None:
    asked = exchange(b"X-Origin: https://x.example", name + b":  " + ORIGIN + b"\t", b"A: origin:b")
    Cors(["https://app.example.com"]).enter(asked)
    assert values(separate(asked.lines), ALLOW_ORIGIN) == [ORIGIN]


def test_origin_in_another_fields_value_is_none() -> None:
    lines = lines_for(Cors(["https://app.example.com"]), None, b"X: Origin:" + ORIGIN)
    assert lines == (b"Vary: Origin",)


def test_pattern_echoes_the_origin_that_fits() -> None:
    lines = lines_for(Cors(["https://*.example.com"], credentials=True), ORIGIN)
    assert values(lines, ALLOW_ORIGIN) == [ORIGIN]
    assert values(lines, b"access-control-allow-credentials") == [b"true"]
    assert values(lines, b"vary") == [b"Origin"]


@pytest.mark.parametrize("origin", [None, b"https://anybody.example", b"null"])
def test_rule_for_all_says_the_same_to_all(origin: bytes | None) -> None:
    lines = lines_for(Cors(["*"]), origin)
    assert values(lines, ALLOW_ORIGIN) == [b"*"]
    assert not values(lines, b"vary")


def test_further_headers_can_be_exposed_once() -> None:
    rule = Cors(["https://app.example.com"], expose=[b"X-Total", b"X-Request-ID"])
    (exposed,) = values(lines_for(rule, ORIGIN), b"access-control-expose-headers")
    names = exposed.split(b", ")
    assert b"X-Total" in names
    assert len(set(names)) == len(names)


# ------------------------------------------------------------------------------- preflights


def test_preflight_is_answered_here() -> None:
    rule = Cors(
        ["https://app.example.com"], methods=[b"GET", b"PUT"], headers=[b"X-A", b"X-B"], max_age=7
    )
    lines = preflight(rule)
    assert values(lines, ALLOW_ORIGIN) == [ORIGIN]
    assert values(lines, b"access-control-allow-methods") == [b"GET, PUT"]
    assert values(lines, b"access-control-allow-headers") == [b"X-A, X-B"]
    assert values(lines, b"access-control-max-age") == [b"7"]
    assert values(lines, b"vary") == [b"Origin"]


def test_headers_that_are_not_listed_are_those_that_were_asked_for() -> None:
    lines = preflight(Cors(["*"]), b"Access-Control-Request-Headers: x-a, authorization")
    assert values(lines, b"access-control-allow-headers") == [b"x-a, authorization"]
    assert b"Access-Control-Request-Headers" in values(lines, b"vary")


@pytest.mark.parametrize("asked", [b"", b"x a", b"x-a,,", b'"x"'])
def test_what_is_no_list_of_headers_is_not_echoed(asked: bytes) -> None:
    lines = preflight(Cors(["*"]), b"Access-Control-Request-Headers: " + asked)
    assert not values(lines, b"access-control-allow-headers")


def test_no_headers_are_allowed_by_an_empty_list() -> None:
    lines = preflight(Cors(["*"], headers=()), b"Access-Control-Request-Headers: x-a")
    assert not values(lines, b"access-control-allow-headers")


def test_private_network_is_not_granted() -> None:
    lines = preflight(Cors(["*"]), b"Access-Control-Request-Private-Network: true")
    assert not values(lines, b"access-control-allow-private-network")


def test_preflight_of_another_origin_is_refused_and_varies() -> None:
    rule = Cors(["https://app.example.com"])
    asked = exchange(
        b"Origin: https://evil.example",
        b"Access-Control-Request-Method: GET",
        first=b"OPTIONS /p HTTP/1.1",
    )
    with pytest.raises(Forbidden):
        rule.enter(asked)
    assert asked.lines == (b"Vary: Origin",)


@pytest.mark.parametrize(
    "lines", [(b"Origin: https://app.example.com",), (b"Access-Control-Request-Method: GET",), ()]
)
def test_options_that_is_no_preflight_goes_on(lines: tuple[bytes, ...]) -> None:
    asked = exchange(*lines, first=b"OPTIONS /p HTTP/1.1")
    assert Cors(["https://app.example.com"]).enter(asked) is None


def test_request_without_a_route_gets_lines_and_no_answer() -> None:
    asked = exchange(
        b"Origin: " + ORIGIN, b"Access-Control-Request-Method: GET", first=b"OPTIONS /p HTTP/1.1"
    )
    Unrouted(Cors(["https://app.example.com"])).enter(asked)
    assert values(separate(asked.lines), ALLOW_ORIGIN) == [ORIGIN]


# ----------------------------------------------------- beside aiohttp-cors, as browsers see both

Ask = Callable[[str, str, str, bool], Any]


def browser_reads(headers: Mapping[str, str], origin: str, credentials: bool) -> bool:
    """Fetch, 4.9, CORS check: whether a page may see this answer."""
    allowed = headers.get("Access-Control-Allow-Origin")
    if not credentials and allowed == "*":
        return True
    if allowed != origin:
        return False
    return not credentials or headers.get("Access-Control-Allow-Credentials") == "true"


def browser_sends(
    status: int,
    headers: Mapping[str, str],
    origin: str,
    asked: tuple[str, tuple[str, ...]],
    credentials: bool,
) -> bool:
    """Fetch, 4.8, CORS preflight: whether the request itself may follow."""
    method, names = asked
    if not (200 <= status < 300 and browser_reads(headers, origin, credentials)):
        return False
    methods = headers.get("Access-Control-Allow-Methods", "").replace(" ", "").split(",")
    if method not in methods and method not in ("GET", "HEAD", "POST"):
        return False
    allowed = headers.get("Access-Control-Allow-Headers", "").lower().replace(" ", "").split(",")
    return all(name in allowed for name in names)


@pytest.fixture
async def oracle() -> Any:
    """aiohttp-cors with one exact origin, GET and PUT, two headers and credentials."""
    application = web.Application()
    cors = aiohttp_cors.setup(application)
    options = aiohttp_cors.ResourceOptions(
        allow_credentials=True, allow_headers=("X-A", "X-B"), expose_headers="*", max_age=600
    )
    resource = cors.add(application.router.add_resource("/p"))

    async def answer(request: web.Request) -> web.Response:
        return web.Response()

    for method in ("GET", "PUT"):
        cors.add(resource.add_route(method, answer), {"https://app.example.com": options})
    async with TestClient(TestServer(application)) as client:
        yield client


RULE = Cors(
    ["https://app.example.com"],
    methods=[b"GET", b"PUT"],
    headers=[b"X-A", b"X-B"],
    credentials=True,
)
CASES = [
    (origin, method, names, credentials)
    for origin in ("https://app.example.com", "https://evil.example", "null")
    for method in ("GET", "PUT", "DELETE")
    for names in ((), ("x-a",), ("x-a", "x-b"), ("x-a", "x-c"))
    for credentials in (False, True)
]


def ours(*lines: str, method: str) -> tuple[int, dict[str, str]]:
    asked = exchange(*(line.encode() for line in lines), first=f"{method} /p HTTP/1.1".encode())
    try:
        answer = RULE.enter(asked)
    except Forbidden as refused:
        return refused.status, parsed(separate(asked.lines))
    return 204, parsed((*(answer.lines if answer else ()), *separate(asked.lines)))


def parsed(lines: tuple[bytes, ...]) -> dict[str, str]:
    return dict(line.decode().split(": ", 1) for line in lines)


async def test_browsers_send_what_they_would_send_with_aiohttp_cors(oracle: Any) -> None:
    verdicts = []
    for origin, method, names, credentials in CASES:
        lines = {"Origin": origin, "Access-Control-Request-Method": method}
        if names:
            lines["Access-Control-Request-Headers"] = ",".join(names)
        theirs = await oracle.options("/p", headers=lines)
        mine = ours(*(f"{name}: {value}" for name, value in lines.items()), method="OPTIONS")
        wanted = browser_sends(theirs.status, theirs.headers, origin, (method, names), credentials)
        assert browser_sends(*mine, origin, (method, names), credentials) is wanted, lines
        verdicts.append(wanted)
    assert True in verdicts
    assert False in verdicts


@pytest.mark.parametrize("origin", ["https://app.example.com", "https://evil.example", "null"])
async def test_browsers_read_what_they_would_read_with_aiohttp_cors(
    oracle: Any, origin: str
) -> None:
    theirs = await oracle.get("/p", headers={"Origin": origin})
    _, mine = ours(f"Origin: {origin}", method="GET")
    for credentials in (False, True):
        wanted = browser_reads(theirs.headers, origin, credentials)
        assert browser_reads(mine, origin, credentials) is wanted
        assert wanted is (origin == "https://app.example.com")
