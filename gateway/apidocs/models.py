"""What the gateway's own endpoints answer, where no other module has a model of it."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

ASCII: Final = r"^[\x00-\x7f]*$"
PATH: Final = r"^/[\x00-\x7f]*$"


class Said(BaseModel):
    """What all of them have in common."""

    model_config = ConfigDict(frozen=True, defer_build=True)


class Flaw(Said):
    """One thing that is wrong with a request."""

    place: str = Field(alias="in", description="body, query, path, header or cookie")
    name: str = Field(description="of the parameter; empty for a body")
    path: str = Field(description="where in its value: a JSON pointer (RFC 6901)")
    message: str


class Error(Said):
    """Every error that the gateway makes itself. Services behind it have their own."""

    error: str = Field(description="a code, for programs", examples=["not_found"])
    message: str = Field(description="for people; may change")
    path: str = Field(description="that was asked for")
    timestamp: datetime
    status_code: int = Field(ge=400, le=599)
    request_id: str = Field(description="as in X-Request-ID, and in the gateway's log")
    details: list[Flaw] | None = Field(None, description="what is wrong, with 422")


class Health(Said):
    """Whether the gateway and the stores that it was given are well."""

    status: Literal["healthy", "unhealthy"]
    service: Literal["api-gateway"]
    version: str
    timestamp: datetime
    dependencies: dict[str, Literal["up", "down"]] = Field(description="stores, by name")


class Alive(Said):
    """The process answers."""

    status: Literal["alive"]


class Ready(Said):
    """Whether it takes traffic."""

    status: Literal["ready", "draining"]


class Service(Said):
    """A route."""

    name: str
    prefix: str
    status: Literal["configured"]
    targets: list[str] = Field(description="URLs")


class ServiceList(RootModel[list[Service]]):
    """All routes."""


class Live(BaseModel):
    """Who is connected for live updates, to the worker that answers."""

    model_config = ConfigDict(extra="allow", defer_build=True)


class Status(Said):
    """What it is configured to do."""

    status: Literal["running"]
    version: str
    services: list[Service]
    realtime: Live | None = Field(None, description="where there are live updates")


class Sample(BaseModel):
    """One child of a metric: `value`, or of a histogram `count`, `sum` and `buckets`."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    labels: dict[str, str]


class Metric(Said):
    """A metric with its samples."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    samples: list[Sample]


class Metrics(Said):
    """All metrics of all workers."""

    metrics: list[Metric]


class Text(RootModel[str]):
    """Plain text."""


class Tokens(Said):
    """A user's tokens (RFC 6749, 5.1)."""

    access_token: str
    refresh_token: str
    token_type: Literal["bearer"]
    expires_in: int = Field(description="seconds for which the access token is good")


class Key(Said):
    """What is known of an API key; not the key itself."""

    id: str
    owner: str
    tier: str
    scopes: list[str]
    state: Literal["active", "expired", "revoked"]
    created: datetime | None
    expires: datetime | None
    revoked: datetime | None
    last_used: datetime | None
    successor: str | None = Field(description="id of the key that replaces it")


class NewKey(Key):
    """A key as it was made. `key` is told this once."""

    key: str


class Keys(Said):
    """All keys."""

    keys: list[Key]


class Forgotten(BaseModel):
    """What all ways to say what the cache is to forget have in common."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class PurgeKey(Forgotten):
    """One answer, with its variants."""

    key: str = Field(description="its URL", pattern=r"^[Hh][Tt][Tt][Pp][Ss]?://[!-.0-~][!-~]*$")
    host: str = Field("", description="no more than the URL says", pattern=ASCII)


class PurgePath(Forgotten):
    """Answers of one path, whatever the query."""

    path: str = Field(pattern=PATH)
    host: str = Field("", description="only those of this host", pattern=ASCII)


class PurgePrefix(Forgotten):
    """Answers of all paths that begin so."""

    prefix: str = Field(pattern=PATH)
    host: str = Field("", description="only those of this host", pattern=ASCII)


class Purge(RootModel[PurgeKey | PurgePath | PurgePrefix]):
    """What the cache is to forget: a `key`, a `path` or a `prefix`."""


class Purged(Said):
    """How much was forgotten."""

    purged: int


class Update(BaseModel):
    """An event, flat. What else it has is passed on."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    symbol: str = Field(pattern="^[A-Z]{1,5}$")
    predicted_price: float


class Payload(BaseModel):
    """What an envelope holds. What else it has is passed on."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    ticker: str = Field(pattern="^[A-Z]{1,5}$")
    predicted_price: float


class Envelope(BaseModel):
    """An event in its envelope, of which `timestamp` is passed on."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    payload: Payload


class Event(RootModel[Update | Envelope]):
    """An event for the bus."""


class Accepted(Said):
    """The bus has it."""

    status: Literal["accepted"]


class Document(BaseModel):
    """A document for programs."""

    model_config = ConfigDict(extra="allow", defer_build=True)


class StreamQuery(BaseModel):
    """What an event stream is asked for."""

    model_config = ConfigDict(defer_build=True)

    symbols: str = Field("", description="those wanted, with commas")
    since: str = Field("", description="an offset: go on behind it, as Last-Event-ID")
