"""The settings of request validation: the document, read and made ready when settings are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Le
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gateway.config import checks
from gateway.config.kinds import PositiveBytes, Table, readable

if TYPE_CHECKING:  # 8 MiB and 70 ms, for whoever has a document
    from gateway.openapi.operations import Api

LARGEST_BODY = 16 << 20


def _base(value: str) -> str:
    return checks.sent_path(value).rstrip("/")


class Validate(Table):
    """Requests have to be what an OpenAPI document says. It is read again on SIGHUP."""

    spec: Path = Field(
        description="OpenAPI 3.0 or 3.1, YAML or JSON; a relative name is looked for beside the "
        "settings' file"
    )
    base: Annotated[str, AfterValidator(_base)] | None = Field(
        None,
        description="path before those of the document, as the upstream is asked; that of its "
        "servers if left out",
    )
    unlisted: Annotated[str, AfterValidator(checks.one_of(("refuse", "pass")))] = Field(
        "refuse", description="`refuse`: 404 for paths that are not in it; or `pass`"
    )
    strict: bool = Field(
        False, description="whether query parameters and bodies that are not in it are refused"
    )
    body_limit: Annotated[PositiveBytes, Le(LARGEST_BODY)] = Field(
        1048576, description="of a body that has a schema, as it is held whole; at most 16MiB"
    )
    _api: Any = PrivateAttr(None)

    @field_validator("spec")
    @classmethod
    def _beside(cls, value: Path, info: ValidationInfo) -> Path:
        return readable((info.context or {}).get("folder", Path()) / value)

    @model_validator(mode="after")
    def _made_ready(self) -> Validate:
        from gateway.openapi.loading import load

        self._api = load(self.spec, base=self.base, strict=self.strict)
        return self

    @property
    def api(self) -> Api:
        """What the document says."""
        made: Api = self._api
        return made


def named(value: object) -> object:
    """A document's name alone stands for a table with all its defaults."""
    return {"spec": value} if isinstance(value, str) else value


OptionalValidate = Annotated[Validate | None, BeforeValidator(named)]
