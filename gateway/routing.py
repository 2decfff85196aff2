"""The routing table: compiled once, then a few dictionary look-ups a request.

Matched are the bytes of the path as the client sent them, which are the bytes that go upstream.
The gateway's own paths come first, of which some end in a parameter; then exact paths, then the
longest prefix, on the boundary of a segment; among equals an exact host goes before `*.` patterns,
longer patterns before shorter, and a route that names its methods before one that takes all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from gateway.errors import BadRequest, MethodNotAllowed, NotFound
from gateway.exchange import Route

# A path with one of these may mean something else to whoever decodes and resolves it.
SUSPICIOUS: Final = re.compile(rb"%|//|/\.|\.\.|;")
PORT: Final = re.compile(rb":[0-9]*\Z")
REMEMBERED: Final = 1024  # paths, and their routes where nothing else decides
LONGEST: Final = 128  # bytes of such a path
BOUNDARY: Final = (b"/", b"")  # what may stand behind a prefix
ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")

Candidate = tuple[bytes, Route]
"""A route and one of its hosts: exact, or what follows the `*` of a pattern, or nothing."""


class Table:
    """Finds the route of a request."""

    def __init__(self, own: Iterable[Route], routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self._known: dict[bytes, Route] = {}
        own = tuple(own)
        ours = _by_path(r for r in own if not r.parameter)
        # Own paths whose last segment is a parameter, by what stands before it.
        self._above = _by_path(r for r in own if r.parameter)
        # No route stands behind one of the gateway's own paths.
        self._exact = {**_by_path(r for r in routes if r.exact), **ours}
        # By length, longest first: work is bounded by the table, not by the path.
        self._own = frozenset(ours)
        prefixes = _by_path(r for r in routes if not r.exact)
        self._prefixes = [
            (length, {path: found for path, found in prefixes.items() if len(path) == length})
            for length in sorted(set(map(len, prefixes)), reverse=True)
        ]

    def match(self, path: bytes, host: bytes | None, method: bytes) -> Route:
        """The route for a path without its query.

        Raises `NotFound`; `MethodNotAllowed` where other methods are taken; `BadRequest` for a
        path that would be another route's once it is decoded and its dots are resolved.
        """
        known = self._known.get(path)
        if known is not None:
            return known
        if SUSPICIOUS.search(path) is not None:
            return self._check(path, host, method)
        if path not in self._exact and not (self._above and self._is_below(path)):
            for length, prefixes in self._prefixes:
                candidates = prefixes.get(path[:length])
                if candidates is not None and path[length : length + 1] in BOUNDARY:
                    wanted, route = candidates[0]
                    if not wanted and route.methods is None:
                        if len(path) <= LONGEST:
                            self._remember(path, route)
                        return route  # it takes all: no other one is asked
                    break
        return self.find(path, host, method)

    def _is_below(self, path: bytes) -> bool:
        above, _, last = path.rpartition(b"/")
        return bool(last) and above in self._above

    def _remember(self, path: bytes, route: Route) -> None:
        """Bounded, for paths are the clients' to choose."""
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[path] = route

    def find(self, path: bytes, host: bytes | None, method: bytes) -> Route:
        """As `match`, but nothing is remembered, and nobody sent the path: for any thread."""
        allowed: set[bytes] = set()
        candidates = self._exact.get(path)
        if candidates is not None:
            route = _choose(candidates, host, method, allowed)
            if route is not None:
                return route
        if candidates is None and self._is_below(path):
            route = _choose(self._above[path.rpartition(b"/")[0]], host, method, allowed)
            if route is not None:
                return route
        elif path not in self._own:
            for length, prefixes in self._prefixes:
                candidates = prefixes.get(path[:length])
                if candidates is not None and path[length : length + 1] in BOUNDARY:
                    route = _choose(candidates, host, method, allowed)
                    if route is not None:
                        return route
        if allowed:
            raise MethodNotAllowed(fields=(b"Allow: " + b", ".join(sorted(allowed)),))
        raise NotFound

    def _check(self, path: bytes, host: bytes | None, method: bytes) -> Route:
        route = self.find(path, host, method)
        meant = resolve(path)
        if b"\0" in meant:
            raise BadRequest("the path holds NUL", closes=False)
        try:
            same = self.find(meant, host, method) is route
        except (NotFound, MethodNotAllowed):
            same = False
        if not same:
            raise BadRequest("the path leaves its route when it is resolved", closes=False)
        return route


def resolve(path: bytes) -> bytes:
    """The path as a careless upstream may understand it.

    Decoded once; backslashes count as slashes, empty segments as nothing, what stands behind a
    `;` as a parameter; dots are removed as in RFC 3986, 5.2.4.
    """
    decoded = ESCAPE.sub(lambda m: bytes((int(m[1], 16),)), path).replace(b"\\", b"/")
    segments: list[bytes] = []
    bare = b""
    for segment in decoded.split(b"/"):
        bare = segment.partition(b";")[0]
        if bare == b"..":
            if segments:
                segments.pop()
        elif bare not in (b"", b"."):
            segments.append(bare)
    end = b"/" if segments and bare in (b"", b".", b"..") else b""
    return b"/" + b"/".join(segments) + end


def _by_path(routes: Iterable[Route]) -> dict[bytes, list[Candidate]]:
    table: dict[bytes, list[Candidate]] = {}
    for route in routes:
        hosts = [host.removeprefix(b"*") for host in route.hosts] or [b""]
        table.setdefault(route.path, []).extend((host, route) for host in hosts)
    for candidates in table.values():
        candidates.sort(key=_specificity)
    return table


def _specificity(candidate: Candidate) -> tuple[int, int, bool]:
    """Smaller is more specific."""
    host, route = candidate
    kind = 2 if not host else 1 if host.startswith(b".") else 0
    return kind, -len(host), route.methods is None


def _choose(
    candidates: list[Candidate], host: bytes | None, method: bytes, allowed: set[bytes]
) -> Route | None:
    name: bytes | None = None
    for wanted, route in candidates:
        if wanted:
            if name is None:
                name = _name(host)
            if name != wanted and not (wanted[:1] == b"." and name.endswith(wanted)):
                continue
        if route.methods is None or method in route.methods:
            return route
        allowed |= route.methods
    return None


def _name(host: bytes | None) -> bytes:
    """The host's name in lower case, without its port and without a root's dot."""
    name = (host or b"").lower()
    return PORT.sub(b"", name).removesuffix(b".")
