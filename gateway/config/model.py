"""Every setting: its key, type, default and meaning. `docs/CONFIGURATION.md` is made from this.

An unknown key is an error, so a key stands here only when something obeys it. Everything is frozen;
a list is a tuple. Lengths of time are seconds (float), sizes are bytes (int).
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
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
from gateway.config.apis import Apis
from gateway.config.auth import Auth
from gateway.config.caching import CacheStore
from gateway.config.edges import Cors
from gateway.config.kinds import (
    Bytes,
    Count,
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
from gateway.config.problems import FlawError
from gateway.config.ratelimits import TIERS, Tiers
from gateway.config.realtime import OptionalRealtime, Realtime
from gateway.config.routes import Route, flaws_among, flaws_of, names_made_unique
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


COUNTERS = 1 << 18


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
    counters: PositiveCount = Field(
        COUNTERS, description="keys that rate limits count on this host at once, 32 bytes each"
    )


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
    proxy_protocol: tuple[TrustedNetwork, ...] = Field(
        (),
        description="networks of balancers that begin each connection with a PROXY header (v1 or "
        "v2), and have to; it says the client's address",
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
    cors: Cors = Field(
        Cors(), description="for the gateway's own endpoints, and for routes without their own"
    )
    tiers: Tiers = Field(
        TIERS,
        description="how often each may ask, `100/hour` or `unlimited`; those named are added",
    )
    auth: Auth = Field(Auth(), description="who may ask")
    stores: Stores = Field(Stores(), description="where state is kept")
    cache: CacheStore = Field(CacheStore(), description="where the routes' caches keep answers")
    docs: bool = Field(
        True,
        description="whether /api/docs, /api/redoc and /api/openapi.json tell what there is; "
        "/docs leads there",
    )
    apis: Apis = Field(Apis(), description="data services of the gateway's own")
    realtime: OptionalRealtime = Field(
        None, description="`true`, or a table of how; no live updates if left out"
    )
    upstreams: Mapping[Name, Upstream] = Field({}, description="services, by name")
    routes: tuple[Route, ...] = Field((), description="which requests go to which service")

    @field_validator("secret_key")
    @classmethod
    def _strong(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None:
            checks.secret(value.get_secret_value(), info.data.get("environment", "local"))
        return value

    @field_validator("auth")
    @classmethod
    def _signed(cls, value: Auth, info: ValidationInfo) -> Auth:
        if "secret_key" in info.data:
            value.check(info.data["secret_key"])
        return value

    @field_validator("apis")
    @classmethod
    def _served(cls, value: Apis, info: ValidationInfo) -> Apis:
        if {"environment", "auth"} <= info.data.keys():
            value.check(info.data["environment"], info.data["auth"])
        return value

    @field_validator("realtime")
    @classmethod
    def _heard(cls, value: Realtime | None, info: ValidationInfo) -> Realtime | None:
        known = info.data
        if value is not None and {"environment", "auth", "stores"} <= known.keys():
            value.check(known["environment"], known["auth"], known["stores"].nats is not None)
        return value

    @field_validator("routes")
    @classmethod
    def _known(cls, value: tuple[Route, ...], info: ValidationInfo) -> tuple[Route, ...]:
        auth = info.data.get("auth")
        if auth is not None and (flaws := tuple(flaws_of(auth, enumerate(value)))):
            raise FlawError(flaws)
        return value

    @field_validator("routes")
    @classmethod
    def _agree(cls, value: tuple[Route, ...], info: ValidationInfo) -> tuple[Route, ...]:
        upstreams = info.data.get("upstreams")
        if upstreams is None:
            return value
        if flaws := tuple(flaws_among(enumerate(value), upstreams)):
            raise FlawError(flaws)
        return names_made_unique(value, upstreams)

    def upstream_of(self, route: Route) -> tuple[str, Upstream]:
        """The upstream behind a route, and its name; a bare `target_url` is one by itself."""
        if route.upstream is not None:
            return route.upstream, self.upstreams[route.upstream]
        return route.name, Upstream(targets=(Target(url=route.target_url or ""),))
