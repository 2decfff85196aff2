"""The settings of what a route does at its edge: CORS, access lists, sunset, compression."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from gateway import units
from gateway.config import checks
from gateway.config.kinds import Bytes, Methods, Seconds, Table, TrustedNetwork, no_repeats

Names = Annotated[
    tuple[Annotated[str, AfterValidator(checks.field_name)], ...], AfterValidator(no_repeats)
]
Moment = Annotated[int, BeforeValidator(units.moment)]
Link = Annotated[str, AfterValidator(checks.reference)]

CODINGS = ("zstd", "br", "gzip")
COMPRESSIBLE = (
    "text/*",
    "*+json",
    "*+xml",
    "application/json",
    "application/javascript",
    "application/xml",
    "application/x-ndjson",
    "application/wasm",
    "application/vnd.ms-fontobject",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/x-icon",
)


class Cors(Table):
    """Which pages of other origins may read the answers. Preflights are answered here."""

    origins: Annotated[
        tuple[Annotated[str, AfterValidator(checks.origin)], ...], AfterValidator(no_repeats)
    ] = Field(
        (),
        description="`https://app.example.com`, `https://*.example.com` (one label or more, "
        "not example.com itself), with `:8443` or `:*` for ports; `null`; or `*` alone; "
        "none turns it off",
    )
    methods: Methods = Field((), description="that preflights allow; the route's if left out")
    headers: Names = Field(("*",), description="that preflights allow; `*` = what is asked for")
    expose: Names = Field(
        (), description="further headers that a page may read, beside what the gateway adds"
    )
    credentials: bool = Field(False, description="whether cookies count; not with the origin `*`")
    max_age: Seconds = Field(600, description="for which a browser may remember a preflight")

    @field_validator("origins")
    @classmethod
    def _alone(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "*" in value and len(value) > 1:
            raise ValueError('"*" has every origin: leave out the others')
        return value

    @field_validator("headers")
    @classmethod
    def _all_or_named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "*" in value and len(value) > 1:
            raise ValueError('"*" has every header: leave out the others')
        return value

    @field_validator("expose")
    @classmethod
    def _named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "*" in value:
            raise ValueError('name them: with credentials, "*" is no wildcard to a browser')
        return value

    @field_validator("credentials")
    @classmethod
    def _never_for_all(cls, value: bool, info: ValidationInfo) -> bool:
        if value and "*" in info.data.get("origins", ()):
            raise ValueError('never with the origin "*": list the origins that may')
        return value


class Access(Table):
    """Which client addresses may. The smallest network that has an address decides."""

    allow: tuple[TrustedNetwork, ...] = Field(
        (), description="networks that are let in; all others are not, if there is one"
    )
    deny: tuple[TrustedNetwork, ...] = Field((), description="networks that are not let in")

    @field_validator("deny")
    @classmethod
    def _one_verdict(
        cls, value: tuple[TrustedNetwork, ...], info: ValidationInfo
    ) -> tuple[TrustedNetwork, ...]:
        if set(value) & set(info.data.get("allow", ())):
            raise ValueError("holds a network that is allowed, too")
        return value


class Deprecated(Table):
    """A route that will go. From `sunset` on it answers 410."""

    since: Moment = Field(description="from when it is deprecated: 2026-01-31, or with a time")
    sunset: Moment | None = Field(
        None,
        description="a date, or a time after `since`, such as 30d; there is no end yet if left out",
    )
    successor: Link | None = Field(None, description="where to go instead, such as /v1")
    deprecation_link: Link | None = Field(None, description="where the deprecation is explained")
    sunset_link: Link | None = Field(None, description="where the end is explained")

    @field_validator("sunset", mode="before")
    @classmethod
    def _counted(cls, value: object, info: ValidationInfo) -> object:
        since = info.data.get("since")
        try:
            return value if since is None else after(since, units.duration(value))
        except ValueError:
            return value

    @field_validator("sunset")
    @classmethod
    def _behind(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and value < info.data.get("since", value):
            raise ValueError("is before since (RFC 9745 section 4)")
        return value

    @property
    def links(self) -> dict[str, str]:
        """Where the links lead, by their relation."""
        relations = {
            "successor-version": self.successor,
            "deprecation": self.deprecation_link,
            "sunset": self.sunset_link,
        }
        return {relation: link for relation, link in relations.items() if link is not None}


class Compress(Table):
    """Compresses answers on their way. Not for answers that mix secrets with what is asked."""

    min_size: Bytes = Field(1024, description="smallest body that is worth it")
    codings: Annotated[
        tuple[Annotated[str, AfterValidator(checks.one_of(CODINGS))], ...],
        AfterValidator(no_repeats),
    ] = Field(CODINGS, description="by preference, where a client takes several")
    types: Annotated[
        tuple[Annotated[str, AfterValidator(checks.media_range)], ...], AfterValidator(no_repeats)
    ] = Field(COMPRESSIBLE, description="media types: `text/html`, `text/*` or `*+json`")


def after(moment: int, seconds: float) -> datetime:
    """So long after a moment in Unix seconds."""
    return datetime.fromtimestamp(moment + round(seconds), UTC)


def switch(value: object) -> object:
    """A table that `true` stands for, too, with all its defaults; `false` leaves it out."""
    if isinstance(value, bool):
        return {} if value else None
    return value


OptionalCompress = Annotated[Compress | None, BeforeValidator(switch)]
