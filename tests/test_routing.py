from __future__ import annotations

import re
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import BadRequest, MethodNotAllowed, NotFound
from gateway.exchange import Exchange, Route
from gateway.routing import LONGEST, REMEMBERED, Table, resolve


class Silent:
    def handle(self, exchange: Exchange) -> None: ...


def route(
    path: bytes,
    *,
    exact: bool = False,
    hosts: tuple[bytes, ...] = (),
    methods: str = "",
    name: str = "",
) -> Route:
    allowed = frozenset(method.encode() for method in methods.split()) or None
    metrics = cast(Any, None)
    return Route(
        name or path.decode(), Silent(), metrics, path, exact=exact, hosts=hosts, methods=allowed
    )


def found(table: Table, path: bytes, host: bytes | None = b"a.org", method: bytes = b"GET") -> str:
    """The name of the route, or of the error."""
    try:
        return table.match(path, host, method).name
    except (NotFound, MethodNotAllowed, BadRequest) as error:
        return type(error).__name__


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"/api", "/api"),
        (b"/api/", "/api"),
        (b"/api/x", "/api"),
        (b"/apix", "NotFound"),
        (b"/api2", "NotFound"),
        (b"/ap", "NotFound"),
        (b"/API", "NotFound"),
        (b"/api/v1", "/api/v1"),
        (b"/api/v1/x", "/api/v1"),
        (b"/api/v12", "/api"),
        (b"/", "NotFound"),
    ],
)
def test_prefix_matches_on_the_boundary_of_a_segment_and_the_longest_wins(
    path: bytes, name: str
) -> None:
    assert found(Table([], [route(b"/api"), route(b"/api/v1")]), path) == name


@pytest.mark.parametrize("path", [b"/", b"/a", b"/a/b"])
def test_prefix_of_nothing_matches_everything(path: bytes) -> None:
    assert found(Table([], [route(b"", name="all")]), path) == "all"


def test_exact_path_goes_before_the_longest_prefix() -> None:
    table = Table([], [route(b"/a", name="prefix"), route(b"/a", exact=True, name="exact")])
    assert [found(table, path) for path in (b"/a", b"/a/")] == ["exact", "prefix"]


def test_own_path_goes_before_every_route() -> None:
    own = [route(b"/health", exact=True, methods="GET HEAD", name="own")]
    table = Table(own, [route(b"/health", exact=True), route(b"", name="all")])
    assert found(table, b"/health") == "own"
    assert found(table, b"/health/x") == "all"


def test_own_path_hides_the_routes_behind_it_for_other_methods_too() -> None:
    own = [route(b"/health", exact=True, methods="GET HEAD")]
    table = Table(own, [route(b"/health", exact=True), route(b"")])
    with pytest.raises(MethodNotAllowed) as refused:
        table.match(b"/health", None, b"POST")
    assert refused.value.fields == (b"Allow: GET, HEAD",)


def test_method_that_the_longest_prefix_does_not_take_is_the_next_ones() -> None:
    table = Table([], [route(b"/a", methods="POST"), route(b"", methods="GET", name="all")])
    assert found(table, b"/a/b", method=b"GET") == "all"
    with pytest.raises(MethodNotAllowed) as refused:
        table.match(b"/a/b", None, b"PUT")
    assert refused.value.fields == (b"Allow: GET, POST",)


def test_route_that_names_its_methods_goes_before_one_that_takes_all() -> None:
    table = Table([], [route(b"/a", name="all"), route(b"/a", methods="POST", name="post")])
    assert found(table, b"/a", method=b"POST") == "post"
    assert found(table, b"/a", method=b"GET") == "all"


@pytest.mark.parametrize(
    ("host", "name"),
    [
        (b"a.org", "exact"),
        (b"A.ORG", "exact"),
        (b"a.org.", "exact"),
        (b"a.org:8080", "exact"),
        (b"a.org:", "exact"),
        (b"b.a.org", "wild"),
        (b"c.b.a.org", "deep"),
        (b"xa.org", "any"),
        (b"org", "any"),
        (b"[::1]:80", "six"),
        (b"[::1]", "six"),
        (None, "any"),
    ],
)
def test_host_is_matched_by_name_then_by_the_longest_pattern(host: bytes | None, name: str) -> None:
    table = Table(
        [],
        [
            route(b"/", name="any"),
            route(b"/", hosts=(b"*.a.org",), name="wild"),
            route(b"/", hosts=(b"*.b.a.org",), name="deep"),
            route(b"/", hosts=(b"z.org", b"a.org"), name="exact"),
            route(b"/", hosts=(b"[::1]",), name="six"),
        ],
    )
    assert found(table, b"/", host) == name


def test_exact_host_of_a_route_does_not_lift_its_patterns() -> None:
    table = Table(
        [],
        [
            route(b"/", hosts=(b"a.org", b"*.b.org"), name="short"),
            route(b"/", hosts=(b"*.x.b.org",), name="long"),
        ],
    )
    assert found(table, b"/", b"y.x.b.org") == "long"
    assert found(table, b"/", b"y.b.org") == "short"


def test_host_that_no_route_has_finds_nothing() -> None:
    assert found(Table([], [route(b"/", hosts=(b"a.org",))]), b"/", b"b.org") == "NotFound"


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        (b"/", b"/"),
        (b"/a/b", b"/a/b"),
        (b"/a/", b"/a/"),
        (b"//a///b", b"/a/b"),
        (b"/a/./b", b"/a/b"),
        (b"/a/../b", b"/b"),
        (b"/a/..", b"/"),
        (b"/a/b/..", b"/a/"),
        (b"/a/.", b"/a/"),
        (b"/../../a", b"/a"),
        (b"/%2e%2E/a", b"/a"),
        (b"/a%2f..%2fb", b"/b"),
        (b"/a%5c..%5Cb", b"/b"),
        (b"/a/..;x/b", b"/b"),
        (b"/a/.;x=y/b", b"/a/b"),
        (b"/;x/b", b"/b"),
        (b"/a;x/b", b"/a/b"),
        (b"/%252e", b"/%2e"),
        (b"/%zz%4", b"/%zz%4"),
        (b"/%00", b"/\0"),
        (b"/...", b"/..."),
    ],
)
def test_path_resolves_as_a_careless_upstream_reads_it(path: bytes, meant: bytes) -> None:
    assert resolve(path) == meant


TABLE = Table(
    [route(b"/health", exact=True, name="own")],
    [route(b"/public"), route(b"/admin"), route(b"/one/", exact=True), route(b"", name="all")],
)


@pytest.mark.parametrize(
    "path",
    [
        b"/public/%41",
        b"/public//x",
        b"/public/a/../b",
        b"/public/.hidden",
        b"/public/%2f%2e",
        b"/public/a%2Fb",
        b"/public/a..b",
        b"/public/%",
        b"/public/.",
        b"/x%20y",
        b"/public/x/%2e.",
    ],
)
def test_path_that_stays_with_its_route_when_resolved_passes(path: bytes) -> None:
    assert found(TABLE, path) in ("/public", "all")


@pytest.mark.parametrize(
    "path",
    [
        b"/public/../admin", b"/public/%2e%2e/admin", b"/public/..%2fadmin", b"/public%2f../admin/",
        b"/public/..;/admin", b"/%61dmin", b"//admin", b"/./admin/x", b"/public/%00", b"/public/..",
        b"/public/../health", b"/%6fne/", b"/public/%5c..%5c..%5cadmin", b"/;x/admin", b"/%2fadmin",
    ],
)  # fmt: skip
def test_path_that_would_be_another_routes_when_resolved_is_refused(path: bytes) -> None:
    assert found(TABLE, path) == "BadRequest"


def test_path_that_resolves_to_no_route_is_refused() -> None:
    assert found(Table([], [route(b"/a")]), b"/a/../b") == "BadRequest"


def test_path_that_resolves_to_a_route_without_the_method_is_refused() -> None:
    table = Table([], [route(b"/a"), route(b"/b", methods="POST")])
    assert found(table, b"/a/../b") == "BadRequest"


def test_refusal_of_a_path_does_not_close_the_connection() -> None:
    with pytest.raises(BadRequest) as refused:
        TABLE.match(b"/public/../admin", None, b"GET")
    assert not refused.value.closes


PARTS = st.sampled_from([b"a", b"b", b"ab", b"a;x", b";", b".", b"..", b"...", b"", b"%2e", b"%2F",
     b"%61", b"%", b"%5c", b"..;x", b"a%3b", b"%252e"])  # fmt: skip
PATHS = st.lists(PARTS, max_size=5).map(lambda parts: b"/" + b"/".join(parts))
CLEAN = st.lists(st.sampled_from([b"a", b"b", b"ab"]), max_size=3)
PREFIXES = CLEAN.map(lambda parts: b"".join(b"/" + part for part in parts))
EXACT = st.builds(lambda path, end: path + end or b"/", PREFIXES, st.sampled_from([b"", b"/"]))
HOSTS = st.sampled_from([b"a.org", b"x.a.org", b"*.a.org", b"*.x.a.org"])
METHODS = st.sampled_from(["", "", "GET", "POST", "GET POST"])


def _routes(paths: st.SearchStrategy[bytes], exact: bool) -> st.SearchStrategy[list[Route]]:
    hosts = st.lists(HOSTS, max_size=2, unique=True).map(tuple)
    return st.lists(
        st.builds(
            lambda path, hosts, methods: route(path, exact=exact, hosts=hosts, methods=methods),
            paths,
            hosts,
            METHODS,
        ),
        max_size=4,
    )


OWN = st.lists(EXACT.map(lambda path: route(path, exact=True, methods="GET")), max_size=2)
TABLES = st.tuples(OWN, _routes(EXACT, exact=True), _routes(PREFIXES, exact=False))


def naive(
    own: list[Route],
    exact: list[Route],
    prefixes: list[Route],
    path: bytes,
    host: bytes,
    method: bytes = b"GET",
) -> Route | type[Exception]:
    """The rules, one after the other, with no table."""

    def rank(pattern: bytes, candidate: Route) -> tuple[int, int, bool]:
        wild = pattern.startswith(b"*.")
        return (1 if wild else 2 if not pattern else 0, -len(pattern), candidate.methods is None)

    def of_host(candidates: list[Route]) -> list[Route]:
        name = re.sub(rb":\d*$", b"", host.lower()).removesuffix(b".")
        ranked = [
            (rank(pattern, candidate), number, candidate)
            for number, candidate in enumerate(candidates)
            for pattern in candidate.hosts or (b"",)
            if not pattern
            or pattern == name
            or (pattern.startswith(b"*.") and name.endswith(pattern[1:]) and name != pattern[1:])
        ]
        return [candidate for _, _, candidate in sorted(ranked, key=lambda entry: entry[:2])]

    tiers = [[r for r in own if r.path == path]]
    if not tiers[0]:
        tiers.append([r for r in exact if r.path == path])
        under = [r for r in prefixes if path == r.path or path.startswith(r.path + b"/")]
        lengths = sorted({len(r.path) for r in under}, reverse=True)
        tiers += [[r for r in under if len(r.path) == length] for length in lengths]
    seen = [candidate for tier in tiers for candidate in of_host(tier)]
    for candidate in seen:
        if candidate.methods is None or method in candidate.methods:
            return candidate
    return MethodNotAllowed if seen else NotFound


@given(TABLES, PATHS, st.sampled_from([b"a.org", b"x.A.org:80", b"y.x.a.org.", b"b.org", b""]))
def test_match_is_what_the_rules_say_one_by_one(
    tables: tuple[list[Route], list[Route], list[Route]], path: bytes, host: bytes
) -> None:
    own, exact, prefixes = tables
    table = Table(own, exact + prefixes)
    expected = naive(own, exact, prefixes, path, host)
    try:
        actual: Route | type[Exception] = table.match(path, host, b"GET")
    except (NotFound, MethodNotAllowed, BadRequest) as error:
        actual = type(error)
    if actual is BadRequest:
        assert naive(own, exact, prefixes, resolve(path), host) is not expected
    else:
        assert actual is expected


def test_paths_that_are_remembered_are_few_and_short() -> None:
    table = Table([], [route(b"/api")])
    for number in range(2 * REMEMBERED + 1):
        assert found(table, b"/api/%d" % number) == "/api"
    assert found(table, b"/api/" + b"x" * LONGEST) == "/api"
    assert len(table._known) <= REMEMBERED
    assert max(map(len, table._known)) <= LONGEST


def test_path_that_is_remembered_is_for_every_host_and_method() -> None:
    for_all, reading = route(b"/api"), route(b"/api/x", methods="GET", name="reading")
    table = Table([], [for_all, reading])
    for _ in range(2):
        assert found(table, b"/api/y") == "/api"
        assert found(table, b"/api/y", None, b"POST") == "/api"
        assert found(table, b"/api/x") == "reading"
        assert found(table, b"/api/x", method=b"POST") == "/api"


@given(TABLES, PATHS)
@example(([], [], [route(b"/a"), route(b"")]), b"/;/a")
def test_path_that_is_accepted_means_the_same_route_when_resolved(
    tables: tuple[list[Route], list[Route], list[Route]], path: bytes
) -> None:
    own, exact, prefixes = tables
    try:
        matched = Table(own, exact + prefixes).match(path, b"a.org", b"GET")
    except (NotFound, MethodNotAllowed, BadRequest):
        return
    assert naive(own, exact, prefixes, resolve(path), b"a.org") is matched


@given(PATHS | st.binary(max_size=30).map(lambda path: b"/" + path))
def test_path_never_resolves_to_outside_of_the_root(path: bytes) -> None:
    meant = resolve(path)
    assert meant.startswith(b"/")
    *between, last = (part.partition(b";")[0] for part in meant[1:].split(b"/"))
    assert not {b"", b".", b".."} & set(between)
    assert last not in (b".", b"..")
