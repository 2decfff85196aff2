"""The settings of the gateway's own APIs; each is off unless it is named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from gateway.config.auth import Auth, Way
from gateway.config.checks import one_of
from gateway.config.edges import switch
from gateway.config.kinds import (
    Name,
    PositiveBytes,
    PositiveCount,
    PositiveSeconds,
    Table,
    no_repeats,
)
from gateway.config.ratelimits import RateLimit
from gateway.config.tokens import Scopes

KINDS: Final = ("explanation", "generate", "detect_inventory")
Kind = Annotated[str, AfterValidator(one_of(KINDS))]


class Api(Table):
    """What all of them have in common."""

    auth: Way | None = Field(
        None,
        description="what clients have to bring; in `local` nothing if left out, elsewhere it has "
        "to be said",
    )
    scopes: Scopes = Field((), description="that they have to have, all of them")
    rate_limit: RateLimit | None = Field(None, description="no limit if left out")

    @property
    def way(self) -> Way:
        return self.auth or "none"

    def check(self, environment: str, auth: Auth) -> None:
        """Raises ValueError for what only `local` forgives, and what clients cannot bring."""
        if self.auth is None and environment != "local":
            raise ValueError("needs auth, and be it none, where environment is not local")
        lacking = auth.lacks(self.way, self.scopes)
        if lacking is not None:
            raise ValueError(f"auth: {lacking}")


class Predictions(Api):
    """Predictions, from Redis with the database behind it."""

    ttl: PositiveSeconds = Field(
        60, description="for which what the database said is kept, and clients may keep an answer"
    )
    stale_after: PositiveSeconds | None = Field(
        None, description="age from which a prediction counts as stale; the `ttl` if left out"
    )
    migrate: bool | None = Field(
        None,
        description="whether the table `predictions` and its index are made where they are not "
        "there; only in SQLite if left out",
    )


class Jobs(Api):
    """Jobs for workers that read them from the bus."""

    kinds: Annotated[tuple[Kind, ...], AfterValidator(no_repeats)] = Field(
        KINDS, description="those that are taken"
    )
    keep: PositiveSeconds = Field(600, description="results, after they came")
    attempts: PositiveCount = Field(
        3, description="deliveries to a worker; one that was lost so often has failed"
    )
    timeout: PositiveSeconds = Field(
        30, description="without a sign of life, after which a job goes to another worker"
    )
    patience: PositiveSeconds = Field(
        86400, description="for which a job waits for a worker; then it is forgotten"
    )
    waiting: PositiveCount = Field(
        1000, description="jobs of a kind that wait or are done; 503 for more"
    )
    prompt: PositiveCount = Field(8000, description="characters of a prompt")
    image: PositiveBytes = Field(
        524288, description="bytes of an image; NATS takes 1 MiB in all, unless told otherwise"
    )
    watchers: PositiveCount = Field(
        1000, description="clients that one worker tells of progress at once"
    )


class OpenTable(Table):
    """A table or a view that clients may use."""

    read: Scopes = Field((), description="that reading needs")
    write: Scopes = Field((), description="that changing needs")
    read_only: bool = Field(False, description="whether nothing may be changed; views never may")


class Pages(Api):
    """Rows of tables that somebody else migrates: found in the database, never changed."""

    table: Name = Field(
        "pages", description="the table behind /api/v1/pages/, or `schema.table` in PostgreSQL"
    )
    tables: Mapping[Name, OpenTable] = Field(
        {},
        description="others, or views, each at /api/v1/ and its name; or that one, for its scopes",
    )
    page_size: PositiveCount = Field(
        50, description="rows of a list, where a client asks for no number"
    )
    largest_page: PositiveCount = Field(500, description="most rows of a list")

    @field_validator("tables")
    @classmethod
    def _apart(
        cls, value: Mapping[str, OpenTable], info: ValidationInfo
    ) -> Mapping[str, OpenTable]:
        """Each has a path of its own."""
        for name in sorted({"pages", "utils", "private"} & value.keys()):
            if name != info.data.get("table"):
                raise ValueError(f"/api/v1/{name}/ is taken")
        return value

    @property
    def names(self) -> tuple[str, ...]:
        """All tables, the main one first."""
        return (self.table, *(name for name in self.tables if name != self.table))

    def check(self, environment: str, auth: Auth) -> None:
        super().check(environment, auth)
        for name, table in self.tables.items():
            lacking = auth.lacks(self.way, (*table.read, *table.write))
            if lacking is not None:
                raise ValueError(f"tables.{name}: {lacking}")


class Apis(Table):
    """Each `true`, or a table of its settings; what is left out does not exist."""

    predictions: Annotated[Predictions | None, BeforeValidator(switch)] = Field(
        None, description="/api/prediction/{symbol}, /api/predictions"
    )
    jobs: Annotated[Jobs | None, BeforeValidator(switch)] = Field(
        None, description="/api/explanation, /generate, /detect_inventory, /progress, /history"
    )
    pages: Annotated[Pages | None, BeforeValidator(switch)] = Field(None, description="/api/v1")

    def all(self) -> Iterator[Api]:
        """Those that are on."""
        return (api for api in (self.predictions, self.jobs, self.pages) if api is not None)

    def check(self, environment: str, auth: Auth) -> None:
        """Raises ValueError for the first that is wrong."""
        for name in type(self).model_fields:
            api: Api | None = getattr(self, name)
            if api is not None:
                try:
                    api.check(environment, auth)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from None
