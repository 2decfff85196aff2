"""Where settings are read from beside the file: `.env`, the environment, the flags.

Each source is a tree of values that knows where each of them was written. Reading never raises:
what is wrong is a problem on the list, so that somebody with five mistakes sees all five at once.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.config import shape
from gateway.config.problems import Loc, Problem, did_you_mean, key_path

PREFIX = "GATEWAY_"
CONFIG_NAME = "GATEWAY_CONFIG"
# Names that hosts and teams set by habit, read where the GATEWAY_ name is not set.
HABITS: dict[str, Loc] = {
    "PORT": ("port",),
    "ENVIRONMENT": ("environment",),
    "SECRET_KEY": ("secret_key",),
    "DATABASE_URL": ("stores", "postgres"),
    "REDIS_URL": ("stores", "redis"),
    "NATS_URL": ("stores", "nats"),
    "API_TOKEN": ("auth", "token"),
    "BACKEND_CORS_ORIGINS": ("cors", "origins"),
}
_SERVICE = re.compile(r"SERVICE([A-Za-z0-9_]+)_URL")
_SERVICE_LINK = re.compile(
    r"GATEWAY_(PORT=(tcp|udp)://|SERVICE_HOST=|SERVICE_PORT\w*=|PORT_[0-9]+_\w+=).*", re.DOTALL
)
_SERVICE_LINK_HINT = (
    "set by Kubernetes for a service named gateway: `enableServiceLinks: false` in the pod stops it"
)


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable and where it was set: `environment` or `.env`."""

    value: str
    file: str


@dataclass(slots=True)
class Source:
    """Values, and for those that did not come under their own key, what they did come under."""

    file: str
    values: dict[str, Any] = field(default_factory=dict)
    names: dict[Loc, tuple[str, str]] = field(default_factory=dict)

    def holds(self, loc: Loc) -> bool:
        found: Any = self.values
        for part in loc:
            if not isinstance(found, list | dict):
                return False
            table = dict(enumerate(found)) if isinstance(found, list) else found
            if part not in table:
                return False
            found = table[part]
        return True

    def place(self, loc: Loc) -> tuple[str, str]:
        """The file and the key under which `loc` was written, or should have been."""
        for length in range(len(loc), 0, -1):
            if named := self.names.get(loc[:length]):
                file, name = named
                rest = key_path(loc[length:])
                dot = "." if rest and not rest.startswith("[") else ""
                return file, f"{name}{dot}{rest}"
        if not self.names:
            return self.file, key_path(loc)
        return self.file, variable_name(loc)


def variable_name(loc: Loc) -> str:
    """`("stores", "redis")` as `GATEWAY_STORES__REDIS`."""
    return PREFIX + "__".join(map(str, loc)).upper()


def read_dotenv(path: Path, problems: list[Problem]) -> dict[str, Variable]:
    """The variables of a `.env` file, as they stand there: nothing in them is expanded."""
    if not path.exists():
        return {}
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError):
        problems.append(Problem(path.name, "the file", "cannot be read as UTF-8 text"))
        return {}
    # pydantic-settings has the same parser read it, but passes over the lines that it cannot read.
    from dotenv.parser import parse_stream

    variables = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.key is not None and binding.value is not None:
            variables[binding.key] = Variable(binding.value, path.name)
        elif binding.error or binding.key is not None:
            written = binding.original.string
            blank = written[: len(written) - len(written.lstrip())].count("\n")
            line = f"line {binding.original.line + blank}"
            problems.append(Problem(path.name, line, "expected NAME=value"))
    return variables


def read_variables(variables: Mapping[str, Variable], problems: list[Problem]) -> Source:
    """The settings among the variables, by their GATEWAY_ names and by the names of habit."""
    source = Source("environment")
    for name, loc in HABITS.items():
        # Hosts set them empty for "none"; a GATEWAY_ name set later takes the place of this.
        if (variable := variables.get(name)) and variable.value:
            _read_variable(source, loc, name, variable, problems)
    ours = (name for name in variables if name.startswith(PREFIX) and name != CONFIG_NAME)
    # A whole table comes before single keys of it, so that these win.
    for name in sorted(ours, key=lambda name: (name.count("__"), name)):
        loc = tuple(name.removeprefix(PREFIX).lower().split("__"))
        _read_variable(source, loc, name, variables[name], problems)
    return source


def _read_variable(
    source: Source, loc: Loc, name: str, variable: Variable, problems: list[Problem]
) -> None:
    try:
        if _SERVICE_LINK.fullmatch(f"{name}={variable.value}"):
            raise ValueError(_SERVICE_LINK_HINT)
        value = _decoded(loc, variable.value)
    except ValueError as error:
        problems.append(Problem(variable.file, name, str(error)))
    else:
        _put(source, loc, value, (variable.file, name))


def read_flags(flags: Mapping[str, object]) -> Source:
    """The settings that flags gave; None is a flag that was not there."""
    values = {key: value for key, value in flags.items() if value is not None}
    return Source("flags", values, {(key,): ("flags", f"--{key}") for key in values})


def service_routes(
    variables: Mapping[str, Variable],
) -> list[tuple[dict[str, Any], tuple[str, str]]]:
    """A route for each `SERVICE<id>_URL`, with the place where it was written."""
    routes = []
    for name, variable in sorted(variables.items()):
        if match := _SERVICE.fullmatch(name):
            service = f"service{match[1].lower()}"
            route = {
                "name": service,
                "prefix": f"/api/{service}",
                "target_url": variable.value,
                "strip_prefix": True,
                "rewrite": "/api",
                "websocket": True,
            }
            routes.append((route, (variable.file, name)))
    return routes


def _put(source: Source, loc: Loc, value: object, place: tuple[str, str]) -> None:
    table = source.values
    for part in loc[:-1]:
        below = table.get(str(part))
        if not isinstance(below, dict):
            below = table[str(part)] = {}
        table = below
    table[str(loc[-1])] = value
    source.names[loc] = place


def _decoded(loc: Loc, text: str) -> object:
    """The value of the variable for `loc`: text, or JSON where the setting is no single value."""
    for length in range(1, len(loc)):
        if shape.is_list(shape.type_at(loc[:length])):
            raise ValueError(f"a list is set whole, as JSON in {variable_name(loc[:length])}")
    kind = shape.type_at(loc)
    if kind is None:
        meant = shape.meant(loc)
        guess = did_you_mean(variable_name(meant) if meant else None)
        raise ValueError(f"unknown setting{guess}")
    several = shape.is_list(kind)
    if not several and not shape.is_table(kind) and not shape.is_mapping(kind):
        return text
    try:
        value = json.loads(text, object_pairs_hook=_each_key_once)
    except (ValueError, RecursionError):
        value = text
    if value is None or isinstance(value, list if several else dict):
        return value
    raise ValueError(
        'expected a JSON list such as ["a", "b"]' if several else "expected a JSON object"
    )


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError
    return mapping
