from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import load
from tests.config.folder import Folder

SPEC = "openapi: 3.1.0\npaths: {/x: {get: {}}}\n"
ROUTE = "routes:\n- {prefix: /, target_url: 'http://a', validate: %s}\n"


def test_document_is_named_alone_or_in_a_table(folder: Folder) -> None:
    (folder.path / "spec.yaml").write_text(SPEC)
    table = folder.load(ROUTE % "spec.yaml").routes[0].validation
    assert table is not None
    assert table.unlisted == "refuse"
    assert not table.strict
    assert table.body_limit == 1048576
    assert table.api.match(b"/x")
    table = folder.load(ROUTE % "{spec: spec.yaml, unlisted: pass, base: /b/}").routes[0].validation
    assert table is not None
    assert table.base == "/b"
    assert table.api.match(b"/b/x")
    assert folder.load(ROUTE % "null").routes[0].validation is None


def test_document_is_looked_for_beside_the_settings(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    (there / "spec.yaml").write_text(SPEC)
    (there / "g.yaml").write_text(ROUTE % "spec.yaml")
    for path in (there / "g.yaml", Path("../there/g.yaml")):
        assert load(path, {}, {}, here).routes[0].validation
    assert load(None, {"GATEWAY_CONFIG": "../there/g.yaml"}, {}, here).routes[0].validation
    (there / "g.yaml").write_text(ROUTE % str(there / "spec.yaml"))
    assert load(there / "g.yaml", {}, {}, here).routes[0].validation


@pytest.mark.parametrize(
    ("value", "spec", "told"),
    [
        ("spec.yaml", "openapi: 3.1.0", "validate: #/paths: is missing"),
        (
            "{spec: spec.yaml}",
            "openapi: 3.1.0\npaths: {/x: {get: {parameters: {}}}}",
            "validate: #/paths/~1x/get/parameters: expected a list",
        ),
        ("spec.yaml", "a: [", "validate: #: is no YAML that can be read: line 2, column 1"),
        ("none.yaml", SPEC, "validate: there is no such file"),
        ("{spec: none.yaml}", SPEC, "validate.spec: there is no such file"),
        ("{unlisted: pass}", SPEC, "validate.spec: is required"),
        (
            "{spec: spec.yaml, unlisted: maybe}",
            SPEC,
            "validate.unlisted: expected one of refuse, p",
        ),
        ("{spec: spec.yaml, base: v2}", SPEC, 'validate.base: has to begin with "/"'),
        ("{spec: spec.yaml, body_limit: 1GiB}", SPEC, "validate.body_limit: has to be at most"),
        (
            "{spec: spec.yaml, strickt: true}",
            SPEC,
            "validate.strickt: unknown key, did you mean st",
        ),
        ("[spec.yaml]", SPEC, "validate: expected a mapping"),
    ],
)
def test_what_is_wrong_is_told_by_file_key_and_place(
    folder: Folder, value: str, spec: str, told: str
) -> None:
    (folder.path / "spec.yaml").write_text(spec)
    (problem,) = folder.problems(ROUTE % value)
    assert problem.startswith(f"gateway.yaml: routes[0].{told}")


@pytest.mark.parametrize("key", ["validation", "valdate"])
def test_key_is_validate_and_no_other(folder: Folder, key: str) -> None:
    (problem,) = folder.problems(ROUTE.replace("validate", key) % "spec.yaml")
    assert problem == f"gateway.yaml: routes[0].{key}: unknown key, did you mean validate?"
