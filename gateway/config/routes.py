"""The settings of a route, and what is wrong with routes next to each other."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from gateway.config import checks
from gateway.config.auth import Auth, Way
from gateway.config.caching import OptionalCache
from gateway.config.edges import Access, Cors, Deprecated, OptionalCompress
from gateway.config.kinds import Bytes, Hosts, Methods, Name, PositiveSeconds, Seconds, Table
from gateway.config.problems import Flaw, closest, did_you_mean
from gateway.config.ratelimits import RateLimit
from gateway.config.tokens import Claims, Scopes
from gateway.config.validation import OptionalValidate


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
    auth: Way = Field("none", description="what clients have to bring; `any` of what there is")
    scopes: Scopes = Field((), description="that they have to have, all of them")
    claims: Claims = Field(
        {},
        description="headers that the upstream gets, by the token's claim: `{sub: X-User-Id}`; "
        "a client's own of these names are removed",
    )
    cors: Cors | None = Field(None, description="as the general one; that if left out")
    access: Access | None = Field(None, description="all addresses if left out")
    rate_limit: RateLimit | None = Field(None, description="no limit if left out")
    deprecated: Deprecated | None = Field(None, description="here to stay if left out")
    compress: OptionalCompress = Field(
        None, description="`true`, or a table of how; answers pass as they came if left out"
    )
    validation: OptionalValidate = Field(
        None,
        alias="validate",  # as a name, that is pydantic's own
        description="an OpenAPI document, or a table; requests may be anything if left out",
    )
    cache: OptionalCache = Field(
        None, description="`true`, or a table of how; every request goes up if left out"
    )

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

    @field_validator("cors")
    @classmethod
    def _says_whose(cls, value: Cors | None) -> Cors | None:
        if value is not None and "origins" not in value.model_fields_set:
            raise ValueError("needs origins of its own: an empty list turns it off")
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


def flaws_of(auth: Auth, routes: Iterable[tuple[int, Route]]) -> Iterator[Flaw]:
    """What routes want of clients that nobody can bring."""
    for index, route in routes:
        lacking = auth.lacks(route.auth, route.scopes)
        if lacking is not None:
            yield Flaw(("routes", index, "auth"), lacking)


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


def names_made_unique(routes: tuple[Route, ...], upstreams: Collection[str]) -> tuple[Route, ...]:
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
