"""Has the cache forget, by key, by path or by prefix. Who may is the route's business."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import orjson
from aiohttp import web

from gateway.bodies import invalid, received
from gateway.errors import BadRequest

KINDS: Final = ("key", "path", "prefix")

Purge = Callable[[Callable[[bytes], bool]], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which keys are to go; a key is `scheme://host/path?query`.

    By `key`, this one. By `path`, whatever the query; by `prefix`, what begins so. These two are
    for all hosts unless one is named.
    """

    kind: str
    text: bytes
    host: bytes = b""

    def __call__(self, key: bytes) -> bool:
        target = key.partition(b"\n")[0]  # behind it, a variant is told
        scheme, mark, rest = target.partition(b"://")
        host, slash, rest = rest.partition(b"/")
        host = host.partition(b"<")[0]  # behind it, what a proxy said of the target
        if self.kind == "key":
            return b"".join((scheme, mark, host, slash, rest)) == self.text
        if self.host and host != self.host:
            return False
        path = slash + rest
        if self.kind == "path":
            return path.partition(b"?")[0] == self.text
        return path.startswith(self.text)


class CachePurge:
    """`purge` forgets what is wanted, on every worker and host, and tells how much it was."""

    def __init__(self, purge: Purge) -> None:
        self._purge = purge

    async def answer(self, request: web.Request) -> web.Response:
        """`{"key"|"path"|"prefix": text, "host": name}` gives `{"purged": count}`."""
        wanted = read(await received(request))
        body = orjson.dumps({"purged": await self._purge(wanted)})
        return web.Response(body=body, content_type="application/json")


def read(data: bytes) -> Wanted:
    """Raises what tells the client how it should have asked."""
    try:
        asked = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise BadRequest("the body is no JSON", closes=False) from None
    if not isinstance(asked, dict):
        raise BadRequest("the body is no JSON object", closes=False)
    kinds = [kind for kind in KINDS if kind in asked]
    texts = [asked[kind] for kind in kinds] + [asked.get("host", "")]
    if (
        len(kinds) != 1
        or set(asked) - {*KINDS, "host"}
        or not all(isinstance(text, str) and text.isascii() for text in texts)
    ):
        raise invalid("needs key, path or prefix, one of them, and perhaps a host")
    kind, text = kinds[0], str(asked[kinds[0]])
    if kind != "key" and not text.startswith("/"):
        raise invalid("begins with /", kind)
    if kind == "key":
        text = _normal(text)
    return Wanted(kind, text.encode(), str(asked.get("host", "")).lower().encode())


def _normal(text: str) -> str:
    """A URL as keys have it: lower-case scheme and host, no port that goes without saying."""
    scheme, mark, rest = text.partition("://")
    host, slash, path = rest.partition("/")
    if not mark or scheme.lower() not in ("http", "https") or not host:
        raise invalid("is a URL, http://host/path", "key")
    port = ":443" if scheme.lower() == "https" else ":80"
    return f"{scheme.lower()}://{host.lower().removesuffix(port)}{slash or '/'}{path}"
