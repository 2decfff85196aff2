"""The files of Swagger UI and ReDoc, and other things that a browser is sent whole.

Large ones lie here compressed. They are read when they are asked for, and not kept: seldom anybody
asks. Their address holds a digest of them all, so that a browser may keep them for good.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

STATIC: Final = Path(__file__).parent / "static"
PACKED: Final = ".gz"
TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".txt": "text/plain",
}
SERVED: Final = (PACKED, ".js", ".css", ".txt")
DIGITS: Final = 16  # of a digest, in hex
HTML: Final = (("swagger", "swagger.html"), ("redoc", "redoc.html"))


@dataclass(frozen=True, slots=True)
class Page:
    """Something that is sent whole, in either form: plain, or packed with gzip."""

    media: str
    tag: str
    plain: bytes
    packed: bytes

    @classmethod
    def of(cls, media: str, plain: bytes) -> Page:
        return cls(media, digest(plain), plain, gzip.compress(plain, 6, mtime=0))


class Files:
    """What stands in the folder. Reading it takes some ms: made, and asked, in a thread."""

    def __init__(self, folder: Path = STATIC) -> None:
        self._paths = {
            path.name.removesuffix(PACKED): path
            for path in sorted(folder.iterdir())
            if path.suffix in SERVED
        }
        self._tags = {name: digest(path.read_bytes()) for name, path in self._paths.items()}
        self.version = digest("".join(self._tags.values()).encode())
        self.pages = {
            name: Page.of(
                TYPES[".html"],
                (folder / file).read_bytes().replace(b"VERSION", self.version.encode()),
            )
            for name, file in HTML
        }

    def __contains__(self, name: object) -> bool:
        return name in self._paths

    def read(self, name: str, packed: bool) -> Page:
        """One of them, in that form alone."""
        path = self._paths[name]
        content = path.read_bytes()
        media, tag = TYPES[Path(name).suffix], self._tags[name]
        if packed:
            whole = content if path.suffix == PACKED else gzip.compress(content, 6, mtime=0)
            return Page(media, tag, b"", whole)
        return Page(media, tag, gzip.decompress(content) if path.suffix == PACKED else content, b"")


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:DIGITS]
