"""What stands before the paths of a document: the paths of its servers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.openapi.document import DocumentError, Where, mapping

VARIABLE: Final = re.compile(r"\{([^{}]*)\}")


def bases(holder: Mapping[str, Any], where: Where) -> list[str]:
    """Those of the servers that are named there, each once. Raises `DocumentError`."""
    return list(dict.fromkeys(_bases(holder, where)))


def _bases(holder: Mapping[str, Any], where: Where) -> Iterator[str]:
    servers = holder.get("servers") or [{"url": "/"}]
    if not isinstance(servers, list):
        raise DocumentError((*where, "servers"), "expected a list")
    for number, server in enumerate(servers):
        place = (*where, "servers", str(number))
        server = mapping(server, place)
        url = VARIABLE.sub(partial(_default, server, place), _text(server, "url", place))
        try:
            path = urlsplit(url).path
        except ValueError:
            raise DocumentError((*place, "url"), "is no URL") from None
        if path and not path.startswith("/"):
            raise DocumentError((*place, "url"), "leads nowhere by itself: say `base`")
        yield path.rstrip("/")


def _default(server: Mapping[str, Any], where: Where, name: re.Match[str]) -> str:
    """What a server's variable stands for."""
    variables = mapping(server.get("variables", {}), (*where, "variables"))
    place = (*where, "variables", name[1])
    return _text(mapping(variables.get(name[1]), place), "default", place)


def _text(holder: Mapping[str, Any], key: str, where: Where) -> str:
    if not isinstance(holder.get(key), str):
        raise DocumentError((*where, key), "expected text")
    return str(holder[key])
