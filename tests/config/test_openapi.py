"""Where an upstream's own description is: a path that it is asked for, or a file read at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config import ConfigError, Settings, load

DOCUMENT = '{"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": {}}'


def read(folder: Path, openapi: str) -> Settings:
    text = f"upstreams: {{orders: {{targets: ['http://a'], openapi: {openapi}}}}}"
    (folder / "gateway.yaml").write_text(text)
    return load(None, {}, {}, folder)


def spec(settings: Settings) -> Any:
    return settings.upstreams["orders"].openapi


def test_path_is_asked_for(tmp_path: Path) -> None:
    found = spec(read(tmp_path, "/v1/openapi.json?all=1"))
    assert (found.path, found.file) == ("/v1/openapi.json?all=1", None)


@pytest.mark.parametrize("absolute", [False, True])
def test_file_is_read(tmp_path: Path, absolute: bool) -> None:
    file = tmp_path / "orders.json"
    file.write_text(DOCUMENT)
    found = spec(read(tmp_path, f"file://{file}" if absolute else "orders.json"))
    assert (found.path, found.file) == (None, file)
    assert found.document.version == "3.1"


def test_upstream_is_the_same_whatever_its_file_says(tmp_path: Path) -> None:
    """So that a reload leaves it its connections."""
    file = tmp_path / "orders.json"
    file.write_text(DOCUMENT)
    before = read(tmp_path, "orders.json")
    file.write_text(DOCUMENT.replace('"t"', '"other"'))
    after = read(tmp_path, "orders.json")
    assert before.upstreams == after.upstreams
    assert spec(after).document.root["info"]["title"] == "other"


@pytest.mark.parametrize(
    ("openapi", "wrong"),
    [
        ("nothing.yaml", "there is no such file"),
        ("wrong.json", "expected version 3.0 or 3.1"),
        ("'/open api'", "percent-encoded"),
        ("5", "expected a path that begins with /, or a file"),
        ("''", "expected a path that begins with /, or a file"),
    ],
)
def test_what_is_neither_is_said(tmp_path: Path, openapi: str, wrong: str) -> None:
    (tmp_path / "wrong.json").write_text('{"openapi": "2.0"}')
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, openapi)
    assert "upstreams.orders.openapi" in str(caught.value)
    assert wrong in str(caught.value)
