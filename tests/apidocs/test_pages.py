"""The files of the pages: packed as they lie there, and read when they are asked for."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.apidocs.pages import STATIC, Files, Page

FOREIGN = (b"//cdn.", b"//unpkg.", b"//fonts.")
LAZY = ("gateway.apidocs", "gateway.openapi", "gateway.abouts")


@pytest.mark.parametrize(
    "path", sorted(each for each in STATIC.iterdir() if each.is_file()), ids=lambda path: path.name
)
def test_file_names_no_host_to_load_from(path: Path) -> None:
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    assert not [name for name in FOREIGN if name in content]


def test_packed_file_is_sent_as_it_lies_there() -> None:
    files = Files()
    packed = files.read("swagger-ui.css", packed=True).packed
    assert packed == (STATIC / "swagger-ui.css.gz").read_bytes()
    assert files.read("swagger-ui.css", packed=False).plain == gzip.decompress(packed)


def test_tag_follows_from_what_is_sent() -> None:
    one, same, other = (Page.of("text/plain", text) for text in (b"a", b"a", b"b"))
    assert one == same
    assert one.tag != other.tag


def test_pages_name_one_version_of_all_files() -> None:
    files = Files()
    for page in files.pages.values():
        assert b"VERSION" not in page.plain
        assert page.plain.count(files.version.encode()) == 3


def test_gateway_that_nobody_asks_for_it_imports_none_of_it() -> None:
    found = f"[name for name in sys.modules if name.startswith({LAZY!r})]"
    code = f"import sys, gateway.app; print({found})"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert ended.stdout.strip() == "[]"
