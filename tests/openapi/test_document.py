from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.openapi import document as module
from gateway.openapi.document import Document, DocumentError, parsed, pointer, read, target

HEAD = b"openapi: 3.1.0\npaths: {}\n"


def wrong(content: bytes) -> str:
    with pytest.raises(DocumentError) as raised:
        Document(parsed(content))
    return str(raised.value)


def test_scalars_are_read_as_json_has_them() -> None:
    content = b"[on, yes, 2026-01-31, 010, 0x10, 1_0, 12:30, '1', 1, -2, 1.5, 1e3, true, null, ~, ]"
    assert parsed(b"a: " + content) == {
        "a": ["on", "yes", "2026-01-31", "010", "0x10", "1_0", "12:30", "1", 1, -2, 1.5, 1000.0,
              True, None, None]
    }  # fmt: skip


def test_keys_are_text_and_merged() -> None:
    content = b"a: &a {200: x, true: y, 2026-01-31: z}\nb: {<<: *a, 200: w}"
    found: Any = parsed(content)
    assert found["a"] == {"200": "x", "true": "y", "2026-01-31": "z"}
    assert found["b"] == {"200": "w", "true": "y", "2026-01-31": "z"}


def test_json_is_read_with_what_is_no_yaml() -> None:
    assert parsed(b' {"a": "\\ud83d\\ude00\\/", "b":\t1}') == {"a": "😀/", "b": 1}


def test_yaml_may_begin_with_a_brace() -> None:
    assert parsed(b"{a: 1, b: [x]}") == {"a": 1, "b": ["x"]}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a: 1\nb: {c: 1, c: 2}", "#: line 2: this key stands twice in a mapping"),
        (b'{"a": 1, "a": 2}', "#: the key 'a' stands twice in a mapping"),
        (b"a: 1\n? [b]\n: 2", "#: line 2: a key is text"),
        (b"a: [1", "#: is no YAML that can be read: line 2, column 1"),
        (b"a: \xff", "#: is no YAML that can be read"),
        (b"a: !!binary AA==", "#: is no YAML that can be read: line 1, column 4"),
        (b"a: &a [*a]", "#: is no YAML that can be read: line 1, column 4"),
        (b"a: " + b"9" * 5000, "#: is no YAML that can be read"),
        (b'{"a": ' + b"[" * 5000, "#: is nested too deeply"),
        (b"a: " + b"[" * 101 + b"]" * 101, "#: is nested too deeply"),
        (b"- 1", "#: expected a mapping"),
        (b"", "#: expected a mapping"),
        (b"swagger: '2.0'", "#/openapi: expected version 3.0 or 3.1 of OpenAPI, as text"),
        (b"openapi: 3.1", "#/openapi: expected version 3.0 or 3.1 of OpenAPI, as text"),
        (b"openapi: 3.10.0", "#/openapi: expected version 3.0 or 3.1 of OpenAPI, as text"),
        (b"openapi: 3.2.0", "#/openapi: expected version 3.0 or 3.1 of OpenAPI, as text"),
        (
            b"openapi: 3.1.0\njsonSchemaDialect: http://json-schema.org/draft-07/schema#",
            "#/jsonSchemaDialect: only https://json-schema.org/draft/2020-12/schema is understood",
        ),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(content: bytes, told: str) -> None:
    assert wrong(content) == told


@pytest.mark.parametrize(
    ("version", "kept"), [("3.0.0", "3.0"), ("3.0.4", "3.0"), ("3.1.1", "3.1"), ("3.1", "3.1")]
)
def test_version_is_known(version: str, kept: str) -> None:
    assert Document({"openapi": version}).version == kept


def test_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_bytes(HEAD)
    assert read(file).root == {"openapi": "3.1.0", "paths": {}}


def test_file_that_is_not_there_or_too_large_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "spec.yaml"
    with pytest.raises(DocumentError, match="#: the file cannot be read"):
        read(file)
    file.write_bytes(HEAD)
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    with pytest.raises(DocumentError, match="#: holds more than 10 bytes"):
        read(file)


def test_reference_leads_through_keys_lists_and_other_references() -> None:
    found = Document(
        {"openapi": "3.1.0", "a~b": {"c/d": [{"x": 1}, {"$ref": "#/last"}]}, "last": {"y": 2}}
    )
    assert found.follow({"$ref": "#/a~0b/c~1d/0"}, ()) == ({"x": 1}, ("a~b", "c/d", "0"))
    assert found.follow({"$ref": "#/a~0b/c%7E1d/1"}, ()) == ({"y": 2}, ("last",))
    assert found.follow({"z": 3}, ("here",)) == ({"z": 3}, ("here",))


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("#/none", "#/at/$ref: there is nothing at #/none"),
        ("#/list/1", "#/at/$ref: there is nothing at #/list/1"),
        ("#/list/x", "#/at/$ref: there is nothing at #/list/x"),
        ("other.yaml#/a", "#/at/$ref: only references within the document are followed: #/..."),
        ("http://a/b", "#/at/$ref: only references within the document are followed: #/..."),
        (7, "#/at/$ref: only references within the document are followed: #/..."),
        ("#anchor", "#/at/$ref: expected a JSON pointer: #/components/..."),
        ("#/ring", "#/ring: references lead to references without end"),
    ],
)
def test_reference_that_leads_nowhere_is_told(reference: object, told: str) -> None:
    found = Document({"openapi": "3.1.0", "list": [1], "ring": {"$ref": "#/ring"}})
    with pytest.raises(DocumentError) as raised:
        found.follow({"$ref": reference}, ("at",))
    assert str(raised.value) == told


def test_pointer_and_reference_are_one_another() -> None:
    where = ("paths", "/a/{b}", "x~y")
    assert pointer(where) == "#/paths/~1a~1{b}/x~0y"
    assert target(pointer(where), ()) == where
    assert target("#", ()) == ()
