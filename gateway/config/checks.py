"""The checks of single values, as pure functions: each returns the value or raises ValueError.

No message repeats a value, except where the value is a name (see `problems`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

SECRET_BYTES = 32  # RFC 7518 section 3.2: a key as long as the output of the hash
METHOD_BYTES = 32
SOCKET_PATH_BYTES = 107  # sun_path of Linux, without its final NUL

# RFC 3986 section 3.3 pchar and "/", without "%": routes are matched on the bytes as they came.
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/-]*")
# What is sent may hold percent-encoded bytes as well, and a health check's path a query.
_SENT_PATH = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")
_QUERY = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 section 5.6.2
# Underscores are not for host names, but container networks are full of them.
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]*)(?::([0-9]{1,5}))?")
_ORIGIN = re.compile(
    r"([a-z][a-z0-9+.-]*)://(\*\.)?(\[[0-9a-f:.]+\]|[^\[\]:/?#@*]+)(?::([0-9]{1,5}|\*))?/?",
    re.IGNORECASE,
)
# RFC 3986 section 4.1, without looking at its parts: what can stand between < and > in a Link.
_REFERENCE = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?#\[\]-]|%[0-9A-Fa-f]{2})+")
_MEDIA_RANGE = re.compile(r"[a-z0-9!#$&^_.+-]+/(?:\*|[a-z0-9!#$&^_.+-]+)|\*\+[a-z0-9]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_STORE = re.compile(r"([a-z][a-z0-9+.-]*)://(.+)", re.DOTALL)

_URL_EXPECTED = (
    "expected the URL of a service: http://host:port, https://host:port or unix:///path/of/socket"
)
_ORIGIN_EXPECTED = (
    "expected an origin without a path: https://app.example.com, https://*.example.com, "
    "http://localhost:*"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a target listens: a host and a port, or a Unix socket."""

    scheme: str
    host: str
    port: int
    socket: str | None = None


def named(value: str) -> str:
    """A name for logs and metrics."""
    if not _NAME.fullmatch(value):
        raise ValueError("a name is 1 to 64 letters, digits, dots, hyphens or underscores")
    if value.startswith("__"):
        raise ValueError("names that begin with two underscores are the gateway's own")
    return value


def name_from(path: str) -> str:
    """A route's name when it was given none: `/api/service1` is `api-service1`, `/` is `root`."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", path).strip("-")[:60].rstrip("-") or "root"


def match_path(value: str) -> str:
    """A path that requests are compared with, byte for byte."""
    if not value.startswith("/"):
        raise ValueError('has to begin with "/"')
    if "?" in value or "#" in value:
        raise ValueError("only the path is matched: leave out the query and the fragment")
    if "%" in value:
        raise ValueError("paths are matched as they were sent, without decoding: leave out the %")
    if not _PATH.fullmatch(value):
        raise ValueError("holds what no path can: only letters, digits and -._~!$&'()*+,;=:@/")
    if value.endswith("*"):
        raise ValueError("holds a *, which is no wildcard here: a prefix has all that is below it")
    return _plain_segments(value)


def match_prefix(value: str) -> str:
    """As `match_path`, but all that is below the path matches too."""
    if value != "/" and match_path(value).endswith("/"):
        raise ValueError('leave out the "/" at the end: a prefix ends where a segment does anyway')
    return value


def sent_path(value: str) -> str:
    """A path that the gateway writes into requests to a service."""
    if not value.startswith("/"):
        raise ValueError('has to begin with "/"')
    if "?" in value or "#" in value:
        raise ValueError("is a path: leave out the query and the fragment")
    if not _SENT_PATH.fullmatch(value):
        raise ValueError("holds what no path can: write it percent-encoded (%20)")
    return _plain_segments(value)


def health_path(value: str) -> str:
    """As `sent_path`, with a query where the service wants one."""
    path, mark, query = value.partition("?")
    if not _QUERY.fullmatch(query):
        raise ValueError("the query holds what no query can: write it percent-encoded (%20)")
    return sent_path(path) + mark + query


def host_name(value: str) -> str:
    """A host name, IPv4 address or IPv6 address in brackets, in lower case."""
    if value.startswith("[") and value.endswith("]"):
        return f"[{_ipv6(value[1:-1])}]"
    if not value.isascii():
        raise ValueError("write an international host name in its xn-- form")
    if not _HOST.fullmatch(value):
        raise ValueError("holds no valid host name")
    if re.fullmatch(r"[0-9.]+", value):
        try:
            IPv4Address(value)
        except ValueError:
            raise ValueError("holds no valid IPv4 address") from None
    return value.lower()


def host_pattern(value: str) -> str:
    """A host name, exact or `*.example.com`, in lower case."""
    if value == "*":
        raise ValueError("leave hosts out to serve every host")
    if "/" in value or (":" in value and not value.startswith("[")):
        raise ValueError("is a host name only: leave out the scheme, the port and the path")
    name = value.removeprefix("*.")
    if "*" in name:
        raise ValueError("a wildcard stands for whole labels at the front: *.example.com")
    return value.removesuffix(name) + host_name(name)


def method(value: str) -> str:
    """A method's name. Standard ones are upper case, and TRACE and CONNECT are never forwarded."""
    if not _TOKEN.fullmatch(value) or len(value) > METHOD_BYTES:
        raise ValueError(f"a method is 1 to {METHOD_BYTES} letters, such as GET")
    if value.upper() in {"TRACE", "CONNECT"}:
        raise ValueError("TRACE and CONNECT are never forwarded")
    if value != value.upper():
        raise ValueError("methods are upper case, such as GET")
    return value


def upper(value: object) -> object:
    """For names that people write in either case."""
    return value.upper() if isinstance(value, str) else value


def listen_host(value: str) -> str:
    """An address or name of this machine to listen on."""
    if value.startswith("[") or "/" in value or value.count(":") == 1:
        raise ValueError("is an address only, such as 0.0.0.0 or :: - the port is a key of its own")
    if ":" in value:
        return _ipv6(value)
    return host_name(value)


def origin(value: str) -> str:
    """An origin as browsers write it (RFC 6454 section 6.2), or a pattern of such."""
    if value in {"*", "null"}:
        return value
    match = _ORIGIN.fullmatch(value)
    if match is None:
        raise ValueError(_ORIGIN_EXPECTED)
    scheme, wildcard, host, port = match.groups()
    name = host_name(host)
    if wildcard and (name.startswith("[") or re.fullmatch(r"[0-9.]+", name)):
        raise ValueError("a wildcard stands for labels in front of a name, not of an address")
    scheme = scheme.lower()
    if port is not None and port != "*":
        if not 1 <= int(port) <= 65535:
            raise ValueError("the port has to be 1 to 65535")
        # A browser leaves a scheme's own port out.
        port = None if int(port) == _DEFAULT_PORTS.get(scheme) else str(int(port))
    return f"{scheme}://{wildcard or ''}{name}{'' if port is None else ':' + port}"


def field_name(value: str) -> str:
    """A header's name; `*` is one, too."""
    if not _TOKEN.fullmatch(value):
        raise ValueError("holds what is no header's name")
    return value


def reference(value: str) -> str:
    """A URL, or a path: where a link leads."""
    if not _REFERENCE.fullmatch(value):
        raise ValueError("expected a URL or a path, percent-encoded where it has to be")
    return value


def media_range(value: str) -> str:
    """A media type, `text/*`, or `*+json`; in lower case."""
    if not _MEDIA_RANGE.fullmatch(value.lower()):
        raise ValueError("expected a media type such as text/html, text/* or *+json")
    return value.lower()


def one_of(known: Sequence[str]) -> Callable[[str], str]:
    """A check for one of these words."""

    def check(value: str) -> str:
        if value not in known:
            raise ValueError(f"expected one of {', '.join(known)}")
        return value

    return check


def hash_key(value: object) -> str:
    """What the `hash` balance looks at."""
    if isinstance(value, str):
        kind, colon, name = value.partition(":")
        if value == "client_address" or (
            colon and kind in {"header", "cookie"} and _TOKEN.fullmatch(name)
        ):
            return value
    raise ValueError('expected client_address, "header:NAME" or "cookie:NAME" (no space inside)')


def target_place(value: str) -> Place:
    """Takes a target's URL apart."""
    scheme, found, rest = value.partition("://")
    if not found or scheme.lower() not in {"http", "https", "unix"}:
        raise ValueError(_URL_EXPECTED)
    if re.search(r"[^\x21-\x7e]", rest):
        raise ValueError("holds a space or another character that no URL can hold")
    if "?" in rest or "#" in rest:
        raise ValueError("leave out the query and the fragment: requests bring their own")
    if scheme.lower() == "unix":
        return _socket(rest)
    if "@" in rest:
        raise ValueError("leave out the user and the password: they are not sent")
    authority, _, path = rest.partition("/")
    if path:
        raise ValueError("leave out the path: strip_prefix and rewrite of the route set it")
    match = _AUTHORITY.fullmatch(authority)
    if match is None or not match[1]:
        raise ValueError(_URL_EXPECTED)
    port = int(match[2] or (443 if scheme.lower() == "https" else 80))
    if not 1 <= port <= 65535:
        raise ValueError("the port has to be 1 to 65535")
    return Place(scheme.lower(), host_name(match[1]).strip("[]"), port)


def store_url(value: str, schemes: tuple[str, ...]) -> str:
    """The URL of a store. It may hold a password, so no message says anything of it."""
    _utf8(value)
    match = _STORE.fullmatch(value)
    if match is None or match[1] not in schemes or re.search(r"[\x00-\x20\x7f]", value):
        raise ValueError(
            "expected a URL that begins with " + " or ".join(f"{s}://" for s in schemes)
        )
    return value


def secret(value: str, environment: str) -> str:
    """A key to sign with; anything goes on a developer's own machine."""
    _utf8(value)
    if environment == "local":
        return value
    if value == "changethis":
        raise ValueError('"changethis" is known to everybody: only environment local takes it')
    if len(value.encode()) < SECRET_BYTES:
        raise ValueError(
            f"at least {SECRET_BYTES} bytes outside environment local: "
            "python -c 'import secrets; print(secrets.token_urlsafe(32))' makes one"
        )
    return value


def _utf8(value: str) -> None:
    """Bytes of the environment that are no text come as lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("expected text in UTF-8") from None


def _plain_segments(path: str) -> str:
    segments = path.split("/")[1:]
    if "" in segments[:-1]:
        raise ValueError('holds an empty segment ("//")')
    if {".", ".."} & {segment.lower().replace("%2e", ".") for segment in segments}:
        raise ValueError('holds a "." or ".." segment')
    return path


def _socket(path: str) -> Place:
    if not path.startswith("/") or path.endswith("/"):
        raise ValueError("a socket's path is absolute: unix:///path/of/socket, three slashes")
    if len(path) > SOCKET_PATH_BYTES:
        raise ValueError(f"a socket's path is at most {SOCKET_PATH_BYTES} bytes")
    return Place("unix", "localhost", 0, path)


def _ipv6(value: str) -> str:
    try:
        return str(IPv6Address(value))
    except ValueError:
        raise ValueError("holds no valid IPv6 address") from None
