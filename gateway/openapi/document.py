"""An OpenAPI document as plain values, and where its references lead.

YAML is read by the rules that OpenAPI asks for, those of YAML 1.2's JSON schema: `on` and
`2026-01-31` are text, and so is every key. A key stands once. References lead to places in the
same document: nothing is fetched, and no other file is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import unquote

MOST_BYTES: Final = 16 << 20
MOST_DEPTH: Final = 100  # of the file; the C loader follows nesting on the C stack
MOST_HOPS: Final = 32  # of references that lead to references

Where = tuple[str, ...]
"""A place in a document: the keys that lead there."""

SCALARS: Final = (
    ("bool", r"true|false", "tf"),
    ("null", r"null|~|", ["n", "~", ""]),
    ("int", r"-?(?:0|[1-9][0-9]*)", "-0123456789"),
    ("float", r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?", "-0123456789"),
    ("merge", r"<<", "<"),
)

TAGS: Final = tuple(
    f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "bool", "null", "int", "float")
)


class DocumentError(ValueError):
    """What is wrong with a document, and where in it."""

    def __init__(self, where: Where, wrong: str) -> None:
        super().__init__(f"{pointer(where)}: {wrong}")


def pointer(where: Iterable[str]) -> str:
    """A place as a JSON pointer in a fragment (RFC 6901, 6), but for its percent-encoding."""
    return "#" + "".join("/" + escape(key) for key in where)


def escape(key: str) -> str:
    """A key within a JSON pointer (RFC 6901, 3)."""
    return key.replace("~", "~0").replace("/", "~1")


class Document:
    """The values of a document. `version` is 3.0 or 3.1."""

    def __init__(self, root: object) -> None:
        """Raises `DocumentError` for what is no OpenAPI 3.0 or 3.1."""
        self.root = mapping(root, ())
        version = self.root.get("openapi")
        match = re.match(r"3\.[01](?=\.|\Z)", version) if isinstance(version, str) else None
        if match is None:
            raise DocumentError(("openapi",), "expected version 3.0 or 3.1 of OpenAPI, as text")
        self.version = match[0]
        dialect = self.root.get("jsonSchemaDialect", DIALECTS[0])
        if dialect not in DIALECTS:
            raise DocumentError(("jsonSchemaDialect",), f"only {DIALECTS[0]} is understood")

    def at(self, where: Where, asked: Where) -> object:
        """What stands there; `asked` is where the reference to it stands."""
        value: object = self.root
        for key in where:
            if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
                value = value[int(key)]
            elif isinstance(value, dict) and key in value:
                value = value[key]
            else:
                raise DocumentError(asked, f"there is nothing at {pointer(where)}")
        return value

    def follow(self, value: object, where: Where) -> tuple[Mapping[str, Any], Where]:
        """A mapping or, where there is a reference instead, what it leads to in the end."""
        for _ in range(MOST_HOPS):
            found = mapping(value, where)
            if "$ref" not in found:
                return found, where
            asked = (*where, "$ref")
            where = target(found["$ref"], asked)
            value = self.at(where, asked)
        raise DocumentError(where, "references lead to references without end")


DIALECTS: Final = (
    "https://json-schema.org/draft/2020-12/schema",
    "https://spec.openapis.org/oas/3.1/dialect/base",
)


def target(reference: object, where: Where) -> Where:
    """The place that a reference in this document names."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise DocumentError(where, "only references within the document are followed: #/...")
    if reference != "#" and not reference.startswith("#/"):
        raise DocumentError(where, "expected a JSON pointer: #/components/...")
    keys = unquote(reference[1:]).split("/")[1:]
    return tuple(key.replace("~1", "/").replace("~0", "~") for key in keys)


def mapping(value: object, where: Where) -> Mapping[str, Any]:
    """The value, if it is a mapping."""
    if not isinstance(value, dict):
        raise DocumentError(where, "expected a mapping")
    return value


def read(path: Path) -> Document:
    """The document in a file of YAML or JSON. Raises `DocumentError`, whatever is wrong."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError:
        raise DocumentError((), "the file cannot be read") from None
    if len(content) > MOST_BYTES:
        raise DocumentError((), f"holds more than {MOST_BYTES} bytes")
    return Document(parsed(content))


def parsed(content: bytes) -> object:
    """The values in a text. JSON is read as such: to libyaml, not all of it is YAML."""
    if content.lstrip()[:1] == b"{":
        try:
            return json.loads(content, object_pairs_hook=once)
        except DocumentError:
            raise
        except (ValueError, RecursionError):
            pass  # YAML may begin with a brace, too
    return parsed_yaml(content)


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping in which each key stands once."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise DocumentError((), f"the key {key!r} stands twice in a mapping")
        found[key] = value
    return found


def parsed_yaml(content: bytes) -> object:
    """The values in a text of YAML."""
    # 15 ms, which a gateway without such a document need not spend.
    import yaml
    from yaml.events import CollectionEndEvent, CollectionStartEvent
    from yaml.nodes import ScalarNode

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        """Reads scalars as JSON does, and keys as text."""

        yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}
        yaml_constructors: ClassVar[dict[str | None, Any]] = {
            tag: base.yaml_constructors[tag] for tag in TAGS if tag in base.yaml_constructors
        } | {None: base.yaml_constructors[None]}

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
            names = [key.value if isinstance(key, ScalarNode) else None for key, _ in node.value]
            for number, name in enumerate(names):
                line = node.value[number][0].start_mark.line + 1
                if name is None:
                    raise DocumentError((), f"line {line}: a key is text")
                if name in names[:number]:
                    raise DocumentError((), f"line {line}: this key stands twice in a mapping")
            self.flatten_mapping(node)
            return {key.value: self.construct_object(value, True) for key, value in node.value}

    for tag, pattern, first in SCALARS:
        name = f"tag:yaml.org,2002:{tag}"
        Loader.add_implicit_resolver(name, re.compile(rf"(?:{pattern})\Z"), list(first))
    Loader.add_constructor("tag:yaml.org,2002:float", lambda _, node: float(node.value))
    depth = 0
    try:
        for event in yaml.parse(content, Loader=Loader):
            depth += isinstance(event, CollectionStartEvent)
            depth -= isinstance(event, CollectionEndEvent)
            if depth > MOST_DEPTH:
                raise DocumentError((), "is nested too deeply")
        return yaml.load(content, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        raise DocumentError((), f"is no YAML that can be read: {place}") from None
    except DocumentError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError):
        raise DocumentError((), "is no YAML that can be read") from None
