"""Every setting: its key, type, default and meaning. `docs/CONFIGURATION.md` is made from this.

An unknown key is an error, so a key stands here only when something obeys it. Everything is frozen;
a list is a tuple. Lengths of time are seconds (float), sizes are bytes (int).
"""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Annotated, Literal

from annotated_types import Le
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gateway.config import checks
from gateway.config.kinds import (
    Bytes,
    Count,
    Hosts,
    Methods,
    Name,
    NatsUrl,
    OptionalPath,
    OptionalSecret,
    Port,
    PositiveBytes,
    PositiveCount,
    PositiveSeconds,
    PostgresUrl,
    ReadableFile,
    RedisUrl,
    Seconds,
    Table,
    TrustedNetwork,
)
from gateway.config.problems import Flaw, FlawError, closest, did_you_mean
from gateway.config.upstreams import (
    CircuitBreaker,
    HealthCheck,
    Pool,
    Retries,
    Target,
    Upstream,
    UpstreamTls,
)

__all__ = [
    "CircuitBreaker",
    "HealthCheck",
    "Limits",
    "Pool",
    "Retries",
    "Route",
    "Settings",
    "Stores",
    "Table",
    "Target",
    "Tls",
    "Upstream",
    "UpstreamTls",
]


class Limits(Table):
    """What one client may take: time, bytes and connections."""

    head_timeout: PositiveSeconds = Field(10, description="for a request's head to be complete")
    body_min_rate: Bytes = Field(
        100, description="that a request's body has to bring per second, over 10 s; 0 = any"
    )
    keepalive_timeout: PositiveSeconds = Field(
        75, description="after which an idle connection of a client is closed"
    )
    send_timeout: PositiveSeconds = Field(
        60, description="after which a client that takes no byte of its answer is cut off"
    )
    request_line: PositiveBytes = Field(8192, description="longest request line")
    header_field: PositiveBytes = Field(8192, description="longest header line of a request")
    header_bytes: PositiveBytes = Field(32768, description="all header lines of a request together")
    header_count: PositiveCount = Field(100, description="most header lines of a request")
    chunk_extension: Bytes = Field(256, description="longest chunk extension")
    connections: Count = Field(
        0, description="clients' connections of one worker; 0 = what its file descriptors allow"
    )
    connections_per_address: Count = Field(
        0, description="connections of one worker from one address; 0 = no limit"
    )
    response_header_bytes: PositiveBytes = Field(
        65536, description="all header lines of an upstream's answer together"
    )
    response_header_count: PositiveCount = Field(
        200, description="most header lines of an upstream's answer"
    )
    buffer: PositiveBytes = Field(
        65536, description="held for a slow reader before the sender is paused"
    )
    replay: Bytes = Field(
        65536, description="a request's body up to this is kept for another attempt"
    )


class Tls(Table):
    """TLS on the listening side. Both files are read again on SIGHUP."""

    cert: ReadableFile = Field(description="PEM file: the certificate, then those that issued it")
    key: ReadableFile = Field(description="PEM file: its private key, not encrypted")

    @model_validator(mode="after")
    def _pair(self) -> Tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # Without a password of ours, OpenSSL would ask for one at the terminal.
            context.load_cert_chain(self.cert, self.key, password=lambda: b"")
        except OSError:
            raise ValueError(
                "cert and key are not a certificate and its unencrypted key in PEM"
            ) from None
        return self


class Stores(Table):
    """Where state is kept. Each may be left out: the one that is built in serves then."""

    redis: RedisUrl = Field(None, description="URL, `redis://` or `rediss://`")
    postgres: PostgresUrl = Field(None, description="URL, `postgresql://`")
    nats: NatsUrl = Field(None, description="URL, `nats://` or `tls://`")
    sqlite: OptionalPath = Field(None, description="file of the built-in database")


class Route(Table):
    """Which requests go to which upstream. The longest match wins."""

    prefix: Annotated[str, AfterValidator(checks.match_prefix)] | None = Field(
        None, description="path that requests begin with, in whole segments; or"
    )
    path: Annotated[str, AfterValidator(checks.match_path)] | None = Field(
        None, description="path that they have exactly"
    )
    name: Name = Field("", description="in logs and metrics; made from the prefix if left out")
    hosts: Hosts = Field((), description="host names, exact or `*.example.com`; all if left out")
    methods: Methods = Field((), description="methods; all if left out")
    upstream: str | None = Field(None, description="name of an upstream; or")
    target_url: str | None = Field(
        None, description="URL of a single target, without retries, breaker or checks"
    )
    strip_prefix: bool = Field(False, description="whether what matched is removed from the path")
    rewrite: str | None = Field(None, description="path put in the place of what was removed")
    timeout: PositiveSeconds | None = Field(
        None, description="as the general one; that if left out"
    )
    websocket: bool = Field(False, description="whether WebSockets pass")
    websocket_idle_timeout: Seconds | None = Field(
        None, description="as the general one; that if left out"
    )
    max_body_size: Bytes | None = Field(None, description="as the general one; that if left out")
    preserve_host: bool = Field(
        True, description="whether the client's Host goes up; else the target's"
    )
    via: bool = Field(False, description="whether Via headers are sent")

    @field_validator("path")
    @classmethod
    def _prefix_or_path(cls, value: str | None, info: ValidationInfo) -> str | None:
        _exactly_one(value, info, "prefix", "a prefix or a path")
        return value

    @field_validator("name", mode="before")
    @classmethod
    def _derived(cls, value: object, info: ValidationInfo) -> object:
        if value is None or value == "":
            return checks.name_from(info.data.get("prefix") or info.data.get("path") or "/")
        return value

    @field_validator("target_url")
    @classmethod
    def _upstream_or_url(cls, value: str | None, info: ValidationInfo) -> str | None:
        _exactly_one(value, info, "upstream", "an upstream or a target_url")
        if value is not None:
            checks.target_place(value)
        return value

    @field_validator("rewrite")
    @classmethod
    def _in_place(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        if info.data.get("strip_prefix") is False:
            raise ValueError("needs strip_prefix: true, as it takes the place of what is removed")
        if checks.sent_path(value).endswith("/") and info.data.get("prefix") is not None:
            raise ValueError('leave out the "/" at the end: the rest of the path brings it')
        return value

    @field_validator("websocket_idle_timeout")
    @classmethod
    def _for_websocket(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("websocket") is False:
            raise ValueError("needs websocket: true")
        return value

    @property
    def matches(self) -> Iterator[tuple[str, str, str, str]]:
        """Host, method, kind and path of everything that it matches; "" stands for all."""
        kind, path = ("path", self.path) if self.path is not None else ("prefix", self.prefix or "")
        for host in self.hosts or ("",):
            for method in self.methods or ("",):
                yield host, method, kind, path


def _exactly_one(value: str | None, info: ValidationInfo, other: str, choice: str) -> None:
    """Refuses a key and the one before it, `other`, when both or none of them are there."""
    if other in info.data and (info.data[other] is None) == (value is None):
        raise ValueError(f"a route needs {choice}{'' if value is None else ', not both'}")


class Settings(Table):
    """Everything that the gateway can be told."""

    host: Annotated[str, AfterValidator(checks.listen_host)] = Field(
        "0.0.0.0", description="address to listen on"
    )
    port: Port = Field(8000, description="port to listen on; 0 = any free one")
    workers: Annotated[Count, Le(1024)] = Field(
        1, description="processes that share the port; 0 = one per core"
    )
    environment: Literal["local", "staging", "production"] = Field(
        "local", description="where this runs; `local` forgives what the others refuse"
    )
    timeout: PositiveSeconds = Field(
        30, description="until an upstream's answer has begun; after that, its longest silence"
    )
    connect_timeout: PositiveSeconds = Field(5, description="for a connection to an upstream")
    max_body_size: Bytes = Field(10485760, description="of a request's body; 0 = no limit")
    drain_timeout: Seconds = Field(30, description="for requests to end when the gateway stops")
    drain_delay: Seconds = Field(
        1, description="the port stays open while stopping, so that readiness can be seen"
    )
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(checks.upper)
    ] = Field("INFO", description="least level that is logged")
    access_log: bool = Field(True, description="whether each request is logged")
    trusted_proxies: tuple[TrustedNetwork, ...] = Field(
        (), description="networks whose `X-Forwarded-*` and `Forwarded` are believed"
    )
    secret_key: OptionalSecret = Field(
        None, description='signs tokens; "changethis" or fewer than 32 bytes only in `local`'
    )
    websocket_idle_timeout: Seconds = Field(
        0, description="after which a silent WebSocket is closed; 0 = never"
    )
    worker_timeout: Seconds = Field(
        30, description="after which a worker without a sign of life is replaced; 0 = never"
    )
    tls: Tls | None = Field(None, description="plain HTTP if left out")
    limits: Limits = Field(Limits(), description="what a client may take")
    stores: Stores = Field(Stores(), description="where state is kept")
    upstreams: Mapping[Name, Upstream] = Field({}, description="services, by name")
    routes: tuple[Route, ...] = Field((), description="which requests go to which service")

    @field_validator("secret_key")
    @classmethod
    def _strong(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None:
            checks.secret(value.get_secret_value(), info.data.get("environment", "local"))
        return value

    @field_validator("routes")
    @classmethod
    def _agree(cls, value: tuple[Route, ...], info: ValidationInfo) -> tuple[Route, ...]:
        upstreams = info.data.get("upstreams")
        if upstreams is None:
            return value
        if flaws := tuple(flaws_among(enumerate(value), upstreams)):
            raise FlawError(flaws)
        return _names_made_unique(value, upstreams)

    def upstream_of(self, route: Route) -> tuple[str, Upstream]:
        """The upstream behind a route, and its name; a bare `target_url` is one by itself."""
        if route.upstream is not None:
            return route.upstream, self.upstreams[route.upstream]
        return route.name, Upstream(targets=(Target(url=route.target_url or ""),))


def flaws_among(routes: Iterable[tuple[int, Route]], upstreams: Collection[str]) -> Iterator[Flaw]:
    """What is wrong with routes next to each other, and with the upstreams that they name."""
    names: dict[str, int] = {}
    matches: dict[tuple[str, str, str, str], int] = {}
    for index, route in routes:
        if "name" in route.model_fields_set:
            first = names.setdefault(route.name, index)
            if first != index:
                yield Flaw(("routes", index, "name"), "has the name of", ("routes", first))
            if route.target_url is not None and route.name in upstreams:
                wrong = "a route with a target_url is an upstream too, and has the name of"
                yield Flaw(("routes", index, "name"), wrong, ("upstreams", route.name))
        if route.upstream is not None and route.upstream not in upstreams:
            wrong = f"there is no upstream {route.upstream!r}"
            wrong += did_you_mean(closest(route.upstream, upstreams))
            yield Flaw(("routes", index, "upstream"), wrong)
        first = min(matches.setdefault(match, index) for match in route.matches)
        if first != index:
            key = "prefix" if route.path is None else "path"
            wrong = f"has the {key}, a host and a method in common with"
            yield Flaw(("routes", index, key), wrong, ("routes", first))


def _names_made_unique(routes: tuple[Route, ...], upstreams: Collection[str]) -> tuple[Route, ...]:
    """Gives routes whose names were made up a number, where another has the name already."""
    taken = {route.name for route in routes if "name" in route.model_fields_set}
    unique = []
    for route in routes:
        if "name" not in route.model_fields_set:
            name, number = route.name, 1
            while name in taken or (route.target_url is not None and name in upstreams):
                number += 1
                name = f"{route.name}-{number}"
            taken.add(name)
            route = route.model_copy(update={"name": name})
        unique.append(route)
    return tuple(unique)
