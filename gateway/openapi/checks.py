"""Schemas compiled: the library does the checking, this says what for and how much.

To say everything that is wrong costs the library some 10 µs for each flaw, however few are wanted.
So a value is only searched for flaws once it is known not to fit, and one that holds many values
for the first flaw alone.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, Final

import jsonschema_rs

from gateway.openapi.document import DocumentError, Where
from gateway.openapi.schemas import Pool, Shape, shape_of
from gateway.openapi.words import Flaw, told

MOST_FLAWS: Final = 10
SEARCHED: Final = 1000  # values in a value that is searched for all its flaws
URI: Final = "gateway:schemas"
# A pattern that backtracks gives up after so many steps. Most do not backtrack at all.
STEPS: Final = 100_000


class Check:
    """One schema; of use once `Checks.compile` has run."""

    __slots__ = ("_first", "_search", "fits", "shape")

    fits: Callable[[object], bool]
    _first: Callable[[object], None]
    _search: Callable[[object], Any]

    def __init__(self, shape: Shape) -> None:
        self.shape = shape

    def use(self, validator: jsonschema_rs.Draft202012Validator) -> None:
        self.fits = validator.is_valid
        self._first = validator.validate
        self._search = validator.iter_errors

    def flaws(self, value: object, size: int = 0) -> list[Flaw]:
        """What is wrong with a value that does not fit, which holds about `size` values."""
        if size <= SEARCHED:
            return [told(error) for error in islice(self._search(value), MOST_FLAWS)]
        try:
            self._first(value)
        except jsonschema_rs.ValidationError as error:
            return [told(error)]
        return []


class Checks:
    """Takes the schemas of one document that are used, then compiles them all."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._checks: dict[str, Check] = {}
        self._sound: set[str] = set()

    def check(self, where: Where) -> Check:
        """The check of the schema that stands there. Raises `DocumentError`."""
        name = self._pool.add(where)
        check = self._checks.get(name)
        if check is None:
            self._examine()
            shape = shape_of(self._pool, self._pool.found[name])
            check = self._checks[name] = Check(shape)
        return check

    def _examine(self) -> None:
        for name in self._pool.found.keys() - self._sound:
            try:
                jsonschema_rs.meta.validate(self._pool.found[name])
            except jsonschema_rs.ValidationError as error:
                where = (*self._pool.places[name], *map(str, error.instance_path))
                raise DocumentError(where, f"is no schema: {told(error).message}") from None
            self._sound.add(name)

    def compile(self) -> None:
        """Raises `DocumentError`."""
        registry = jsonschema_rs.Registry([(URI, {"$defs": self._pool.found})])
        for name, check in self._checks.items():
            try:
                validator = jsonschema_rs.Draft202012Validator(
                    {"$ref": f"{URI}#/$defs/{name}"},
                    registry=registry,
                    validate_formats=True,
                    offline=True,
                    pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=STEPS),
                )
            except jsonschema_rs.ValidationError as error:
                # A pattern, as all else was examined; `$defs` and the schema's name lead to it.
                _, inner, *keys = map(str, error.instance_path)
                where = (*self._pool.places[inner], *keys)
                raise DocumentError(where, f"is no schema: {told(error).message}") from None
            check.use(validator)
