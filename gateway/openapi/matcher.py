"""Which path of a document a request's path is: a tree of segments, made once.

At each segment a plain text goes before one with parameters in it, and of these the one with more
text; only whole paths match. Segments are compared decoded, one by one, so that no encoded slash
makes two of one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar
from urllib.parse import unquote_to_bytes

from gateway.openapi.document import DocumentError, Where

T = TypeVar("T")

PARAMETER: Final = re.compile(r"\{([^{}/]+)\}")


@dataclass(slots=True)
class Node(Generic[T]):
    """What may follow the segments that led here."""

    plain: dict[bytes, Node[T]] = field(default_factory=dict)
    templates: list[tuple[str, re.Pattern[bytes] | None, Node[T]]] = field(default_factory=list)
    item: T | None = None  # what the path that ends here leads to


class Paths(Generic[T]):
    """Finds what belongs to a path."""

    def __init__(self) -> None:
        self._root: Node[T] = Node()

    def add(self, path: str, item: T, where: Where) -> None:
        """`path` is a template; raises `DocumentError` for one that is there already."""
        node = self._root
        for segment in path.split("/")[1:]:
            node = below(node, segment, where)
        if node.item is not None:
            raise DocumentError(where, "stands here a second time, but for parameters' names")
        node.item = item

    def match(self, path: bytes) -> tuple[T, list[bytes]] | None:
        """What belongs to the path, and its parameters' values, encoded as they came."""
        found: list[bytes] = []
        item = search(self._root, path.split(b"/"), 1, found)
        return None if item is None else (item, found)


def below(node: Node[T], segment: str, where: Where) -> Node[T]:
    """The node that a template's segment leads to, made if it is not there."""
    shape, text = PARAMETER.sub("{}", segment), PARAMETER.sub("", segment)
    if "{" in text or "}" in text:
        raise DocumentError(where, "holds a brace that belongs to no parameter")
    if "{}" not in shape:
        return node.plain.setdefault(segment.encode(), Node())
    for known, _, after in node.templates:
        if known == shape:
            return after
    texts = [re.escape(part.encode()) for part in shape.split("{}")]
    pattern = None if shape == "{}" else re.compile(b"(.+?)".join(texts), re.DOTALL)
    made: Node[T] = Node()
    node.templates.append((shape, pattern, made))
    node.templates.sort(key=lambda each: (each[1] is None, -len(each[0])))
    return made


def search(node: Node[T], segments: list[bytes], at: int, found: list[bytes]) -> T | None:
    """Depth first; as deep as the document's paths, however long the request's is."""
    if at == len(segments):
        return node.item
    segment = segments[at]
    after = node.plain.get(unquote_to_bytes(segment) if b"%" in segment else segment)
    if after is not None:
        item = search(after, segments, at + 1, found)
        if item is not None:
            return item
    if not segment:
        return None
    for _, pattern, after in node.templates:
        taken = len(found)
        if pattern is None:
            found.append(segment)
        else:
            match = pattern.fullmatch(segment)
            if match is None:
                continue
            found.extend(match.groups())
        item = search(after, segments, at + 1, found)
        if item is not None:
            return item
        del found[taken:]
    return None
