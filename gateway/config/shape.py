"""The shape of the settings, read from the model: which keys stand at a place, of which kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from gateway.config.kinds import Table
from gateway.config.model import Settings
from gateway.config.problems import Loc, closest


def bare(annotation: Any) -> Any:
    """A type without what is annotated and without its `| None`."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in {Union, UnionType}:
            others = [each for each in get_args(annotation) if each is not type(None)]
            if len(others) != 1:
                return annotation
            annotation = others[0]
        else:
            return annotation


def is_table(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Table)


def fields_of(table: type[Table]) -> dict[str, FieldInfo]:
    """A table's fields by their keys."""
    return {field.alias or name: field for name, field in table.model_fields.items()}


def is_list(annotation: Any) -> bool:
    return get_origin(annotation) is tuple


def is_mapping(annotation: Any) -> bool:
    return get_origin(annotation) is Mapping


def type_at(loc: Loc) -> Any:
    """The bare type of what stands at `loc`, None when nothing can stand there."""
    annotation: Any = Settings
    for part in loc:
        if is_table(annotation):
            field = fields_of(annotation).get(str(part))
            annotation = None if field is None else bare(field.annotation)
        elif is_list(annotation) or is_mapping(annotation):
            annotation = bare(get_args(annotation)[not is_list(annotation)])
        else:
            return None
    return annotation


def keys_at(loc: Loc) -> Sequence[str]:
    """The keys of the table at `loc`; none for anything else."""
    table = type_at(loc)
    return tuple(fields_of(table)) if is_table(table) else ()


def meant(loc: Loc) -> Loc | None:
    """What somebody may have meant who wrote an unknown key at `loc`: a typo, or a wrong place."""
    *table, key = loc
    if close := closest(str(key), keys_at((*table,))):
        return (*table, close)
    elsewhere = [path for path in _paths() if path[-1] == key]
    return elsewhere[0] if len(elsewhere) == 1 else None


@cache
def _paths() -> tuple[Loc, ...]:
    """Every key that is not below a list or a name."""
    top = keys_at(())
    return (*((key,) for key in top), *((table, key) for table in top for key in keys_at((table,))))
