"""The tables of `docs/CONFIGURATION.md`, from the model: every key, unit, default and meaning.

`python -m gateway.config.reference docs/CONFIGURATION.md` writes them into the page, between its
two marks; a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from gateway import units
from gateway.config import shape
from gateway.config.kinds import Table
from gateway.config.model import Settings
from gateway.config.upstreams import Spec

BEGIN = "<!-- made from the model: python -m gateway.config.reference docs/CONFIGURATION.md -->"
END = "<!-- end of what is made from the model -->"

_UNITS: dict[object, str] = {
    units.duration: "seconds",
    units.size: "bytes",
    units.count: "number",
    units.moment: "date",
}
_KINDS = {
    bool: "true, false",
    int: "number",
    float: "number",
    str: "text",
    Path: "path",
    SecretStr: "text, secret",
    units.Network: "network",
    units.Rate: "rate",
    Spec: "path, file",
}


def rendered() -> str:
    """All tables, the general settings first, then each table below a heading of its own."""
    return "\n".join(_section("", Settings))


def rewritten(page: str) -> str:
    """The page with what stands between the marks made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{rendered()}\n{END}{after}"


def _section(path: str, table: type[Table]) -> Iterator[str]:
    yield f"### `{path}`" if path else "### General"
    yield ""
    if path:
        yield f"{(table.__doc__ or '').strip()}\n"
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    below = []
    for key, field in shape.fields_of(table).items():
        kind = shape.bare(field.annotation)
        name = f"{path}.{key}" if path else key
        if shape.is_mapping(kind) and shape.is_table(get_args(kind)[1]):
            below.append((f"{name}.NAME", get_args(kind)[1]))
        elif shape.is_list(kind) and shape.is_table(get_args(kind)[0]):
            below.append((f"{name}[]", get_args(kind)[0]))
        elif shape.is_table(kind):
            below.append((name, kind))
        yield f"| `{key}` | {_kind(field)} | {_default(field)} | {field.description} |"
    yield ""
    for name, each in below:
        yield from _section(name, each)


def _kind(field: FieldInfo) -> str:
    kind = shape.bare(field.annotation)
    if shape.is_table(kind):
        return "table"
    if shape.is_mapping(kind):
        inner = shape.bare(get_args(kind)[1])
        return "tables by name" if shape.is_table(inner) else f"{_word(inner)} by name"
    if shape.is_list(kind):
        inner = get_args(kind)[0]
        return "list of tables" if shape.is_table(inner) else f"list of {_word(shape.bare(inner))}"
    if get_origin(kind) is Literal:
        return ", ".join(f"`{each}`" for each in get_args(kind))
    return next(_readers(field.annotation, field.metadata), _word(kind))


def _readers(annotation: Any, metadata: list[Any]) -> Iterator[str]:
    """The unit that a value is read in, for annotated types, within `| None` too."""
    for each in metadata:
        if (unit := _UNITS.get(getattr(each, "func", None))) is not None:
            yield unit
    for each in get_args(annotation):
        if get_origin(each) is Annotated:
            yield from _readers(get_args(each)[0], list(get_args(each)[1:]))


def _word(kind: Any) -> str:
    return _KINDS[kind]


def _default(field: FieldInfo) -> str:
    default = field.default
    if field.is_required():
        return "required"
    if default is None or default == () or default == {} or isinstance(default, Table):
        return ""
    if isinstance(default, bool):
        return "true" if default else "false"
    if isinstance(default, dict):
        return f"`{', '.join(f'{name}: {value}' for name, value in default.items())}`"
    return f"`{default}`" if default != "" else ""


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(rewritten(target.read_text("utf-8")), "utf-8")
