"""What docs/PAGES.md says is so."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.config import load
from gateway.tables.listing import OPERATORS
from tests.test_docs import blocks, missing_names, text_of

PAGE = "docs/PAGES.md"


def test_names_exist() -> None:
    assert list(missing_names(text_of(PAGE))) == []


def test_example_is_valid(tmp_path: Path) -> None:
    (block,) = blocks(PAGE, "yaml")
    (tmp_path / "gateway.yaml").write_text(block, "utf-8")
    url = {"DATABASE_URL": "postgresql://127.0.0.1/x"}
    pages = load(None, url, {}, tmp_path).apis.pages
    assert pages is not None
    assert pages.names == ("pages", "authors", "live_pages")


def test_operators_are_those_of_the_code() -> None:
    table = text_of(PAGE).partition("| operator |")[2].partition("\n\n")[0]
    assert {word for word in re.findall(r"`([a-z]+)`", table) if word not in ("true", "false")} == (
        set(OPERATORS)
    )
