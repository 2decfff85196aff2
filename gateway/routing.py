"""The routing table: compiled once, then a few dictionary look-ups a request.

Matched are the bytes of the path as the client sent them, which are the bytes that go upstream.
The gateway's own paths come first, then exact paths, then the longest prefix, on the boundary of
a segment; among equals an exact host goes before `*.` patterns, longer patterns before shorter,
and a route that names its methods before one that takes all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from gateway.errors import BadRequest, MethodNotAllowed, NotFound
from gateway.exchange import Route

# A path with one of these may mean something else to whoever decodes and resolves it.
SUSPICIOUS: Final = re.compile(rb"%|//|/\.|\.\.")
ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")

Candidates = dict[bytes, list[Route]]


class Table:
    """Finds the route of a request."""

    def __init__(self, own: Iterable[Route], routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self.own = tuple(own)
        self._exact = [_by_path(self.own), _by_path(r for r in routes if r.exact)]
        # By length, longest first: work is bounded by the table, not by the path.
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
        route = self._find(path, host, method)
        if SUSPICIOUS.search(path) is not None:
            self._check(path, host, method, route)
        return route

    def _find(self, path: bytes, host: bytes | None, method: bytes) -> Route:
        allowed: set[bytes] = set()
        for paths in self._exact:
            if path in paths:
                route = _choose(paths[path], host, method, allowed)
                if route is not None:
                    return route
                if paths is self._exact[0] and allowed:
                    break  # no route stands behind one of the gateway's own paths
        else:
            for length, prefixes in self._prefixes:
                candidates = prefixes.get(path[:length])
                if candidates is not None and path[length : length + 1] in (b"/", b""):
                    route = _choose(candidates, host, method, allowed)
                    if route is not None:
                        return route
        if allowed:
            raise MethodNotAllowed(fields=(b"Allow: " + b", ".join(sorted(allowed)),))
        raise NotFound

    def _check(self, path: bytes, host: bytes | None, method: bytes, route: Route) -> None:
        meant = resolve(path)
        if b"\0" in meant:
            raise BadRequest("the path holds NUL", closes=False)
        try:
            same = self._find(meant, host, method) is route
        except (NotFound, MethodNotAllowed):
            same = False
        if not same:
            raise BadRequest("the path leaves its route when it is resolved", closes=False)


def resolve(path: bytes) -> bytes:
    """The path as a careless upstream may understand it.

    Decoded once; backslashes count as slashes, empty segments as nothing, what stands behind a
    `;` as a parameter; dots are removed as in RFC 3986, 5.2.4.
    """
    decoded = ESCAPE.sub(lambda m: bytes((int(m[1], 16),)), path).replace(b"\\", b"/")
    segments: list[bytes] = []
    for segment in decoded.split(b"/"):
        bare = segment.partition(b";")[0]
        if bare == b"..":
            if segments:
                segments.pop()
        elif bare not in (b"", b"."):
            segments.append(segment)
    return b"/" + b"/".join(segments)


def _by_path(routes: Iterable[Route]) -> Candidates:
    table: Candidates = {}
    for route in routes:
        table.setdefault(route.path, []).append(route)
    for candidates in table.values():
        candidates.sort(key=_specificity)
    return table


def _specificity(route: Route) -> tuple[int, int, bool]:
    """Smaller is more specific."""
    if not route.hosts:
        rank = (2, 0)
    else:
        wild = [len(host) for host in route.hosts if host.startswith(b"*.")]
        rank = (1, -max(wild)) if len(wild) == len(route.hosts) else (0, 0)
    return (*rank, route.methods is None)


def _choose(
    candidates: list[Route], host: bytes | None, method: bytes, allowed: set[bytes]
) -> Route | None:
    for route in candidates:
        if route.methods is None and not route.hosts:
            return route
        if route.hosts and not _is_for(route.hosts, host):
            continue
        if route.methods is None or method in route.methods:
            return route
        allowed |= route.methods
    return None


def _is_for(hosts: tuple[bytes, ...], host: bytes | None) -> bool:
    if host is None:
        return False
    name = host.lower()
    if not name.endswith(b"]"):
        name = re.sub(rb":[0-9]*\Z", b"", name)
    name = name.removesuffix(b".")
    return any(name == h or (h[:1] == b"*" and name.endswith(h[1:]) and name != h[1:]) for h in hosts)
