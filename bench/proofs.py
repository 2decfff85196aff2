"""Whether a peer does what its load is about: what leaves work out is fast and shows nothing.

Each proof is asked once, before the rounds, and raises BenchError for what it misses.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench import predicted
from bench.children import BenchError
from bench.loads import KEY_FIELD, ORIGIN, Load

ANSWER_SECONDS = 5.0
ALLOWED = "Access-Control-Allow-Origin"
FOREIGN_ORIGIN = "https://app.example.org"
# What the tier `free` may here; the load has a key of the tier `pro`, whose limit it never meets.
FREE_REQUESTS = 5


@dataclass(frozen=True, slots=True)
class Site:
    """Where a peer listens, the load's path there, and a key of each tier."""

    port: int
    path: str
    keys: Mapping[str, str]


Fields = Mapping[str, str]


def ask(site: Site, fields: Fields, method: str = "GET") -> http.client.HTTPResponse:
    """The answer with its body read. Raises OSError and HTTPException."""
    return read(site, fields, method)[0]


def read(site: Site, fields: Fields, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
    """The answer and its body. Raises OSError and HTTPException."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=ANSWER_SECONDS)
    try:
        connection.request(method, site.path, headers=dict(fields))
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise BenchError(f"{what}: {wanted} was expected, {found} came")


def chain(site: Site) -> None:
    """Refuses without a key and beyond the tier's limit; answers and refusals carry CORS."""
    known = {KEY_FIELD: site.keys["pro"]}
    for what, fields, status, allowed in (
        ("a key and an origin that may", known | {"Origin": ORIGIN}, 200, ORIGIN),
        ("an origin that may not", known | {"Origin": FOREIGN_ORIGIN}, 200, None),
        ("no key", {"Origin": ORIGIN}, 401, ORIGIN),
        ("a key that is none", {KEY_FIELD: known[KEY_FIELD][::-1]}, 401, None),
    ):
        answer = ask(site, fields)
        expect(f"status for {what}", answer.status, status)
        expect(f"CORS for {what}", answer.headers[ALLOWED], allowed)
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}
    expect("a preflight's CORS", ask(site, preflight, "OPTIONS").headers[ALLOWED], ORIGIN)
    free = {KEY_FIELD: site.keys["free"], "Origin": ORIGIN}
    statuses = [ask(site, free).status for _ in range(FREE_REQUESTS + 1)]
    expect("statuses at the limit of `free`", statuses, [200] * FREE_REQUESTS + [429])


def cached(site: Site) -> None:
    """The upstream gives each answer another X-V, so two that are alike came from the cache."""
    first, second = (ask(site, {}).headers["X-V"] for _ in range(2))
    if not first:
        raise BenchError("the answer lacks the upstream's X-V")
    expect("X-V of the second answer", second, first)


def prediction(site: Site) -> None:
    """The prediction comes from the cache, the second time at the latest, and has a tag."""
    for _ in range(2):
        answer, body = read(site, {})
        expect("status", answer.status, 200)
        told = json.loads(body)
    expect("symbol", told["symbol"], predicted.SYMBOL)
    expect("source of the second answer", told["freshness"]["source"], "cache")
    if not answer.headers["ETag"]:
        raise BenchError("the answer lacks its ETag")


PROOFS: Mapping[str, Callable[[Site], None]] = {
    "chain": chain,
    "cached": cached,
    "prediction": prediction,
    "predictions": prediction,
}


def prove(load: Load, port: int, keys: Mapping[str, str]) -> None:
    """Raises BenchError where the peer on `port` does not do what the load is about."""
    proof = PROOFS.get(load.name)
    if proof is None:
        return
    try:
        proof(Site(port, load.path, keys))
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"{load.name}: {error!r}") from error
