"""The settings file: YAML 1.1 as PyYAML's safe loader reads it, each key once, with `${NAME}`.

Variables are put in after parsing, into single values: what a variable holds cannot add keys. The
parser's messages are repeated without the text that they quote, which may be half of a password.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.config.problems import Loc, Problem, key_path
from gateway.config.sources import Source, Variable

if TYPE_CHECKING:
    from yaml import Event, Node

# YAML can name one thing often, and even within itself: a short file could grow without end.
MOST_DEPTH = 32
MOST_VALUES = 100_000

_STR = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"
_VARIABLE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")
_QUOTED = re.compile(r"\b(alias|tag|handle|anchor|character) ['\"].*", re.DOTALL)


class TooLargeError(Exception):
    """More values, or deeper ones, than any settings have."""


class Unset:
    """Stands for a value whose variable is missing; nothing accepts it."""


def read_file(
    path: Path, label: str, variables: Mapping[str, Variable], problems: list[Problem]
) -> Source:
    """The settings of a file that exists; what is wrong with it joins the problems."""
    source = Source(label)
    known = len(problems)
    try:
        content = _parsed(path.read_bytes(), label, problems)
        if isinstance(content, dict):
            source.values = _Expansion(label, variables, problems).expanded(content, ())
        elif content is not None and len(problems) == known:
            problems.append(Problem(label, "line 1", "expected settings as `key: value`"))
    except OSError:
        problems.append(Problem(label, "the file", "cannot be read"))
    except TooLargeError:
        problems.append(Problem(label, "the file", "holds more, or deeper, than settings can"))
    return source


def expand(text: str, variables: Mapping[str, Variable]) -> str:
    """`${NAME}` and `${NAME:-default}` replaced, `$${` as `${`; LookupError says what is missing.

    As in a shell, the default also stands in for an empty variable.
    """

    def value(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        if match[0] == "$${":
            return "${"
        if name is None:
            raise LookupError("expected ${NAME} or ${NAME:-default} (a plain ${ is written $${)")
        variable = variables.get(name)
        if default is not None and (variable is None or not variable.value):
            return default
        if variable is None:
            raise LookupError(
                f"the variable {name} is not set, and there is no ${{{name}:-default}}"
            )
        return variable.value

    return _VARIABLE.sub(value, text)


class _Expansion:
    """Copies what was parsed, with the variables put in, within the bounds above."""

    def __init__(
        self, label: str, variables: Mapping[str, Variable], problems: list[Problem]
    ) -> None:
        self._label = label
        self._variables = variables
        self._problems = problems
        self._values = 0

    def expanded(self, value: Any, loc: Loc) -> Any:
        self._values += 1
        if self._values > MOST_VALUES or len(loc) > MOST_DEPTH:
            raise TooLargeError
        if isinstance(value, dict):
            # A key that is not text is already a problem.
            return {k: self.expanded(v, (*loc, k)) for k, v in value.items() if isinstance(k, str)}
        if isinstance(value, list):
            return [self.expanded(each, (*loc, index)) for index, each in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        try:
            return expand(value, self._variables)
        except LookupError as error:
            self._problems.append(Problem(self._label, key_path(loc), str(error.args[0])))
            return Unset()


def _parsed(content: bytes, label: str, problems: list[Problem]) -> Any:
    # 15 ms, which a gateway without a file need not spend.
    import yaml

    loader_class = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _bound_depth(yaml.parse(content, Loader=loader_class))
        loader = loader_class(content)
        node = loader.get_single_node()
        if node is None:
            return None
        problems.extend(_bad_keys(node, (), label, set()))
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "the file"
        wrong = ": ".join(filter(None, (error.context, error.problem)))
        problems.append(Problem(label, place, _QUOTED.sub(r"\1", wrong)))
    except (yaml.YAMLError, ValueError):
        # Not UTF-8, a control character, a date that no calendar has.
        problems.append(Problem(label, "the file", "is not YAML that can be read"))
    return None


def _bound_depth(events: Iterable[Event]) -> None:
    """The C loader follows nesting on the C stack: too much of it ends the whole process."""
    from yaml.events import CollectionEndEvent, CollectionStartEvent

    depth = 0
    for event in events:
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise TooLargeError


def _bad_keys(node: Node, loc: Loc, label: str, seen: set[int]) -> Iterator[Problem]:
    """Keys that stand twice in a mapping, and keys that YAML takes for a number, a bool, a list."""
    from yaml.nodes import MappingNode, ScalarNode, SequenceNode

    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, SequenceNode):
        for index, each in enumerate(node.value):
            yield from _bad_keys(each, (*loc, index), label, seen)
    if not isinstance(node, MappingNode):
        return
    known: set[str | int] = set()
    for key, value in node.value:
        below = (*loc, key.value if isinstance(key, ScalarNode) else "?")
        if key.tag == _STR and key.value in known:
            yield Problem(
                label, key_path(below), f"stands here twice, line {key.start_mark.line + 1}"
            )
        if key.tag not in {_STR, _MERGE}:
            yield Problem(label, key_path(below), "a key is text: put it into quotes")
        known.add(below[-1])
        yield from _bad_keys(value, below, label, seen)
