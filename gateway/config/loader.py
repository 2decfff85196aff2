"""Reads the settings from all their sources and says everything that is wrong with them at once.

Later wins: defaults, the file, `.env`, the environment, flags. Tables are merged key by key, lists
are replaced whole; the routes of `SERVICE<id>_URL` join whichever routes there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gateway.config import shape
from gateway.config.auth import Auth
from gateway.config.model import Route, Settings
from gateway.config.problems import (
    ConfigError,
    Flaw,
    FlawError,
    Loc,
    Problem,
    did_you_mean,
    key_path,
)
from gateway.config.routes import flaws_among, flaws_of
from gateway.config.sources import (
    CONFIG_NAME,
    Source,
    Variable,
    read_dotenv,
    read_flags,
    read_variables,
    service_routes,
)
from gateway.config.yamlfile import Unset, read_file

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

DEFAULT_FILE = "gateway.yaml"

_WRONG = {
    "missing": "is required",
    "string_type": "expected text (put it into quotes)",
    "string_unicode": "expected text in UTF-8",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "finite_number": "expected a number",
    "path_type": "expected the path of a file",
    "tuple_type": "expected a list",
    "model_type": "expected a mapping",
    "dict_type": "expected a mapping",
}


def load(
    config: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, object],
    cwd: Path,
) -> Settings:
    """The settings; raises ConfigError with every problem that was found.

    `config` is the file that `--config` named. Without it, GATEWAY_CONFIG names one; without that,
    `gateway.yaml` is read when it is there. A relative name is looked for in `cwd`, as `.env` is.
    """
    problems: list[Problem] = []
    variables = read_dotenv(cwd / ".env", problems)
    variables |= {name: Variable(value, "environment") for name, value in environ.items()}
    sources = (
        _read_config(config, variables, cwd, problems),
        read_variables(variables, problems),
        read_flags(flags),
    )
    layers = _Layers(sources, service_routes(variables), _folder(config, variables, cwd))
    try:
        settings = Settings.model_validate(layers.values, context=layers.context)
    except ValidationError as error:
        problems += layers.problems(error)
        raise ConfigError(dict.fromkeys(problems)) from None
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    return settings


def _read_config(
    config: Path | None, variables: Mapping[str, Variable], cwd: Path, problems: list[Problem]
) -> Source:
    file, key = "flags", "--config"
    if config is None:
        named = variables.get(CONFIG_NAME)
        if named is None or not named.value:
            config = Path(DEFAULT_FILE)
            if not (cwd / config).exists():
                return Source(DEFAULT_FILE)
        else:
            config, file, key = Path(named.value), named.file, CONFIG_NAME
    if not (cwd / config).is_file():
        problems.append(Problem(file, key, f"there is no file {str(config)!r}"))
        return Source(str(config))
    return read_file(cwd / config, str(config), variables, problems)


def _folder(config: Path | None, variables: Mapping[str, Variable], cwd: Path) -> Path:
    """Where the settings' file lies; the working directory without one."""
    named = variables.get(CONFIG_NAME)
    if config is None and named is not None and named.value:
        config = Path(named.value)
    return cwd if config is None else (cwd / config).parent


class _Layers:
    """The sources, lowest first, with their merged values, and where each value came from."""

    def __init__(
        self,
        sources: Sequence[Source],
        services: list[tuple[dict[str, Any], tuple[str, str]]],
        folder: Path,
    ) -> None:
        self.context = {"folder": folder}  # for values that are names of files
        self._sources = sources
        self.values: dict[str, Any] = {}
        for source in sources:
            self.values = _merged(self.values, source.values)
        self._services: dict[Loc, tuple[str, str]] = {}
        routes = self.values.get("routes") or []
        # Anything but a list is an error, with or without the routes of services.
        if services and isinstance(routes, list):
            self.values["routes"] = [*routes, *(route for route, _ in services)]
            for index, (_, place) in enumerate(services, start=len(routes)):
                self._services["routes", index] = place

    def problems(self, error: ValidationError) -> Iterator[Problem]:
        """What pydantic found, in our words, and what it does not look at once it found that."""
        bad: set[Loc] = set()
        for details in error.errors(include_url=False):
            loc = details["loc"]
            bad.add(loc)
            if not isinstance(details.get("ctx", {}).get("error"), FlawError):
                yield from self._problem(loc, details)
        for flaw in self._flaws(bad):
            yield self._at(flaw.loc, flaw.wrong, flaw.other)

    def _problem(self, loc: Loc, details: ErrorDetails) -> Iterator[Problem]:
        if isinstance(details["input"], Unset):
            return
        if details["type"] == "missing":
            yield self._at(loc, _WRONG["missing"])
        elif details["type"] == "extra_forbidden":
            yield self._at(loc, f"unknown key{_guess(loc)}")
        else:
            yield self._at(self._written(loc), _wrong(details))

    def _flaws(self, bad: set[Loc]) -> Iterator[Flaw]:
        routes = self.values.get("routes")
        upstreams = self.values.get("upstreams") or {}
        if not isinstance(routes, list) or not isinstance(upstreams, dict):
            return
        faulty = {loc[1] for loc in bad if loc[:1] == ("routes",) and len(loc) > 1}
        sound = [
            (index, Route.model_validate(route, context=self.context))
            for index, route in enumerate(routes)
            if index not in faulty
        ]
        yield from flaws_among(sound, upstreams)
        if not any(loc[:1] == ("auth",) for loc in bad):
            auth = Auth.model_validate(self.values.get("auth") or {}, context=self.context)
            yield from flaws_of(auth, sound)

    def _at(self, loc: Loc, wrong: str, other: Loc | None = None) -> Problem:
        behind = "" if other is None else " " + ": ".join(self._place(other))
        return Problem(*self._place(loc), wrong + behind)

    def _written(self, loc: Loc) -> Loc:
        """As much of `loc` as somebody wrote: a bare target has no `url` key."""
        owners = self._owners(loc)
        while loc[:2] not in self._services and not any(owner.holds(loc) for owner in owners):
            loc = loc[:-1]
        return loc

    def _owners(self, loc: Loc) -> Sequence[Source]:
        """The sources of `loc`, lowest first; a list comes whole from the last that has it."""
        for depth, part in enumerate(loc):
            if isinstance(part, int):
                return [source for source in self._sources if source.holds(loc[:depth])][-1:]
        return self._sources

    def _place(self, loc: Loc) -> tuple[str, str]:
        if service := self._services.get(loc[:2]):
            return service
        written = self._written(loc)
        holders = [owner for owner in self._owners(loc) if owner.holds(written)]
        # The last one wins a value; what is missing is missing in the first.
        return holders[-1 if written == loc else 0].place(loc)


def _merged(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(low)
    for key, value in high.items():
        below = result.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            value = _merged(below, value)
        result[key] = value
    return result


def _guess(loc: Loc) -> str:
    """The key alone for one that stands beside it, its path for one that stands elsewhere."""
    meant = shape.meant(loc) or ()
    return did_you_mean(key_path(meant[-1:] if meant[:-1] == loc[:-1] else meant))


def _wrong(details: ErrorDetails) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if details["input"] is None and kind != "value_error":
        return "has no value: give it one, or leave the key out"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"expected {context['expected']}".replace("'", "")
    for bound, words in (("ge", "at least"), ("gt", "more than"), ("le", "at most")):
        if bound in context:
            return f"has to be {words} {context[bound]:g}"
    return _WRONG.get(kind, details["msg"])
