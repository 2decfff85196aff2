"""The kinds of values that settings have: how each is read, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Le
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainValidator,
    SecretStr,
)

from gateway import units
from gateway.config import checks


def _none_if_empty(value: object) -> object:
    """`${NAME:-}` and an empty variable leave an optional setting out."""
    return None if value == "" else value


def readable(path: Path) -> Path:
    """The path of a file that can be read."""
    if not path.is_file():
        raise ValueError("there is no such file")
    try:
        path.open("rb").close()
    except OSError:
        raise ValueError("the file cannot be read") from None
    return path


def no_repeats(values: tuple[str, ...]) -> tuple[str, ...]:
    """A list that says nothing twice."""
    if len(set(values)) < len(values):
        raise ValueError("holds the same value twice")
    return values


def _url(*schemes: str) -> AfterValidator:
    def check(value: SecretStr) -> SecretStr:
        checks.store_url(value.get_secret_value(), schemes)
        return value

    return AfterValidator(check)


LEFT_OUT = BeforeValidator(_none_if_empty)
Seconds = Annotated[float, Ge(0), BeforeValidator(units.duration)]
PositiveSeconds = Annotated[float, Gt(0), BeforeValidator(units.duration)]
Bytes = Annotated[int, Ge(0), BeforeValidator(units.size)]
PositiveBytes = Annotated[int, Gt(0), BeforeValidator(units.size)]
Count = Annotated[int, Ge(0), BeforeValidator(units.count)]
PositiveCount = Annotated[int, Gt(0), BeforeValidator(units.count)]
Port = Annotated[int, Ge(0), Le(65535), BeforeValidator(units.count)]
Name = Annotated[str, AfterValidator(checks.named)]
HostName = Annotated[str, AfterValidator(checks.host_name)]
TrustedNetwork = Annotated[units.Network, PlainValidator(units.network)]
ReadableFile = Annotated[Path, AfterValidator(readable)]
Hosts = Annotated[
    tuple[Annotated[str, AfterValidator(checks.host_pattern)], ...], AfterValidator(no_repeats)
]
Methods = Annotated[
    tuple[Annotated[str, AfterValidator(checks.method)], ...], AfterValidator(no_repeats)
]
RedisUrl = Annotated[Annotated[SecretStr, _url("redis", "rediss")] | None, LEFT_OUT]
PostgresUrl = Annotated[Annotated[SecretStr, _url("postgresql", "postgres")] | None, LEFT_OUT]
NatsUrl = Annotated[Annotated[SecretStr, _url("nats", "tls")] | None, LEFT_OUT]
OptionalPath = Annotated[Path | None, LEFT_OUT]
OptionalSecret = Annotated[SecretStr | None, LEFT_OUT]


class Table(BaseModel):
    """What all tables of settings have in common."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True
    )
