"""Fills `@NAME@` in a configuration; the formats use `$` and `{}` themselves.

What stands between a line `#>` and a line `#<` is left out where a peer runs bare.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent
BESIDES = re.compile(r"^[ \t]*#>[ \t]*\n.*?^[ \t]*#<[ \t]*\n", re.MULTILINE | re.DOTALL)
PLACE = re.compile(r"@([A-Z_]+)@")


def fill(text: str, values: Mapping[str, str]) -> str:
    """Raises KeyError for a name that has no value."""
    return PLACE.sub(lambda place: values[place[1]], text)


def stripped(text: str) -> str:
    """Without the parts that do more than forward."""
    return BESIDES.sub("", text)


def write(template: str, target: Path, values: Mapping[str, str], *, bare: bool = False) -> None:
    text = (HERE / template).read_text()
    target.write_text(fill(stripped(text) if bare else text, values))
