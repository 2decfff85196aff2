"""`gateway reflect` as people and machines run it; and the example that comes with the gateway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.stores import Database
from tests.rows import migrate

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "deploy" / "examples"


def run(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k.startswith(("COV", "PATH", "PYTHON"))}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(ROOT)} | environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def reflect(folder: Path, *arguments: str, **environ: str) -> tuple[int, str]:
    """The exit code, and what was said."""
    done = run(folder, "-m", "gateway", "reflect", *arguments, **environ)
    return done.returncode, (done.stdout + done.stderr).strip()


@pytest.fixture
async def folder(tmp_path: Path, stores: dict[str, str], database: Database) -> Path:
    """With the settings of a gateway over some tables."""
    await migrate(database)
    table = {"stores": stores, "apis": {"pages": {"tables": {"sad_pages": {}}}}}
    (tmp_path / "gateway.yaml").write_text(json.dumps(table))
    return tmp_path


async def test_models_are_written_and_stale_once_the_table_changes(
    folder: Path, database: Database
) -> None:
    assert reflect(folder, "--check")[0] == 1
    assert reflect(folder) == (0, "written: models.py")
    text = (folder / "models.py").read_text("utf-8")
    assert "class Pages(BaseModel):" in text
    assert "class SadPages(BaseModel):" in text
    assert reflect(folder) == (0, "unchanged: models.py")
    assert reflect(folder, "--check") == (0, "ok: models.py")
    await database.execute("ALTER TABLE pages ADD COLUMN more VARCHAR(7)")
    code, said = reflect(folder, "--check")
    assert (code, said[:17]) == (1, "models.py: stale,")
    assert (folder / "models.py").read_text("utf-8") == text
    assert reflect(folder) == (0, "written: models.py")
    assert "more: Annotated[str, Field(max_length=7)] | None" in (folder / "models.py").read_text()


async def test_table_that_is_missing_is_named(folder: Path, database: Database) -> None:
    await database.execute("DROP VIEW sad_pages")
    assert reflect(folder) == (1, "there is no table sad_pages in the database")
    assert not (folder / "models.py").exists()


def test_gateway_without_tables_says_so(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("stores: {sqlite: x.db}")
    assert reflect(tmp_path) == (1, "apis.pages is off: there are no tables")


def test_database_that_is_lost_is_told(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("apis: {pages: true}")
    lost = {"DATABASE_URL": "postgresql://user:hunter2@127.0.0.1:9/x"}
    assert reflect(tmp_path, **lost) == (1, "the database cannot be reached")


def test_models_of_the_example_are_not_stale(tmp_path: Path) -> None:
    file = str(tmp_path / "pages.db")
    for _ in range(2):
        assert run(tmp_path, str(EXAMPLES / "pages_migrate.py"), file).returncode == 0
    arguments = ("--config", str(EXAMPLES / "pages.yaml"), "--check", "--output")
    models = str(EXAMPLES / "pages_models.py")
    assert reflect(tmp_path, *arguments, models, PAGES_DB=file) == (0, f"ok: {models}")
