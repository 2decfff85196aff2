"""The settings of upstreams: targets, balance, health, retries, breaker, pool, TLS."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gateway.config import checks
from gateway.config.kinds import (
    Count,
    HostName,
    PositiveCount,
    PositiveSeconds,
    ReadableFile,
    Table,
    readable,
)


class Target(Table):
    """One address of an upstream; a bare string is its `url`."""

    url: str = Field(description="`http://host:port`, `https://host:port` or `unix:///path`")
    weight: Annotated[PositiveCount, Le(1000)] = Field(
        1, description="its share of the requests, next to the other targets'"
    )

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: object) -> object:
        return {"url": value} if isinstance(value, str) else value

    @field_validator("url")
    @classmethod
    def _a_place(cls, value: str) -> str:
        checks.target_place(value)
        return value

    @property
    def place(self) -> checks.Place:
        """The URL taken apart."""
        return checks.target_place(self.url)


class HealthCheck(Table):
    """A GET to each target, again and again: those that fail it get no requests."""

    path: Annotated[str, AfterValidator(checks.health_path)] = Field(description="what to ask for")
    interval: PositiveSeconds = Field(5, description="from one check to the next")
    timeout: PositiveSeconds = Field(2, description="after which a check has failed")
    healthy_after: PositiveCount = Field(2, description="good checks that bring a target back")
    unhealthy_after: PositiveCount = Field(3, description="bad checks that take a target out")

    @field_validator("timeout")
    @classmethod
    def _within_interval(cls, value: float, info: ValidationInfo) -> float:
        if value > info.data.get("interval", value):
            raise ValueError("has to be at most the interval, or the checks would overlap")
        return value


class Retries(Table):
    """Further attempts, when a request failed in a way that makes them safe."""

    attempts: Annotated[PositiveCount, Le(10)] = Field(2, description="all tries, the first too")
    budget: Annotated[float, Ge(0), Le(1)] = Field(
        0.2, description="retries are at most this share of all requests", allow_inf_nan=False
    )


class CircuitBreaker(Table):
    """Stops asking an upstream that fails: connection errors, time-outs, 502, 503 and 504."""

    failures: PositiveCount = Field(5, description="failures within the window that open it")
    window: PositiveSeconds = Field(30, description="in which failures are counted")
    open_for: PositiveSeconds = Field(10, description="until one request may try again")


class Pool(Table):
    """The connections to each target, per worker."""

    connections: PositiveCount = Field(1024, description="most connections to a target")
    waiting: Count = Field(1024, description="most requests that wait for one")
    wait_timeout: PositiveSeconds = Field(5, description="after which waiting ends")
    idle_timeout: PositiveSeconds = Field(30, description="after which an idle one is closed")


class UpstreamTls(Table):
    """How `https://` targets are checked."""

    ca: ReadableFile | None = Field(
        None, description="PEM file of the authorities to trust; the system's if left out"
    )
    server_name: HostName | None = Field(
        None, description="name to ask for (SNI) and to find in the certificate; else the target's"
    )
    verify: bool = Field(True, description="whether the certificate is checked at all")

    @field_validator("ca")
    @classmethod
    def _certificates(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(value)
            except OSError:
                raise ValueError("the file holds no certificate in PEM") from None
        return value


@dataclass(frozen=True, slots=True)
class Spec:
    """Where a service's own description is: a path of its, or a file, which has been read."""

    path: str | None = None
    file: Path | None = None
    # What it says does not make another upstream, whose connections would be new.
    document: Any = field(default=None, compare=False, repr=False)


def _spec(value: object, info: ValidationInfo) -> Spec | None:
    if value is None or isinstance(value, Spec):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError("expected a path that begins with /, or a file")
    if value.startswith("/"):
        return Spec(path=checks.health_path(value))
    name = value.removeprefix("file://")
    file = readable((info.context or {}).get("folder", Path()) / name)
    from gateway.openapi.document import read

    return Spec(file=file, document=read(file))


OptionalSpec = Annotated[Spec | None, PlainValidator(_spec)]


class Upstream(Table):
    """A service: the targets that answer for it, and how one is chosen."""

    targets: tuple[Target, ...] = Field(description="its addresses, one or more")
    balance: Literal["p2c", "round_robin", "least_connections", "hash"] = Field(
        "p2c", description="how a target is chosen; p2c: the less busy one of two at random"
    )
    hash_on: Annotated[str, BeforeValidator(checks.hash_key)] = Field(
        "client_address",
        description='what `balance: hash` looks at: `client_address`, `"header:NAME"` or '
        '`"cookie:NAME"`',
    )
    health_check: HealthCheck | None = Field(None, description="none if left out")
    retries: Retries | None = Field(None, description="none if left out")
    circuit_breaker: CircuitBreaker | None = Field(None, description="none if left out")
    pool: Pool = Field(Pool(), description="connections to each target")
    tls: UpstreamTls | None = Field(None, description="for `https://` targets")
    openapi: OptionalSpec = Field(
        None,
        description="its OpenAPI document, for `/api/openapi.json`: a path that it is asked for, "
        "such as `/openapi.json`, or a file, `orders.yaml` (beside the settings' file) or "
        "`file:///etc/orders.yaml`",
    )

    @field_validator("targets")
    @classmethod
    def _each_once(cls, value: tuple[Target, ...]) -> tuple[Target, ...]:
        if not value:
            raise ValueError("expected at least one")
        if len({target.place for target in value}) < len(value):
            raise ValueError("holds the same target twice: give it a weight instead")
        return value

    @field_validator("hash_on")
    @classmethod
    def _for_hash(cls, value: str, info: ValidationInfo) -> str:
        if value != "client_address" and info.data.get("balance", "hash") != "hash":
            raise ValueError("is only used with balance: hash")
        return value

    @field_validator("tls")
    @classmethod
    def _for_https(cls, value: UpstreamTls | None, info: ValidationInfo) -> UpstreamTls | None:
        targets = info.data.get("targets")
        if value and targets and all(target.place.scheme != "https" for target in targets):
            raise ValueError("is only used with https:// targets, and there is none")
        return value
