"""`gateway keys` as people run it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import apikeys
from gateway.stores import Database

ROOT = Path(__file__).parents[2]
MOMENT = r"20..-..-..T..:..:..Z"


@pytest.fixture
def folder(tmp_path: Path, stores: dict[str, str]) -> Path:
    """With the settings of a database."""
    (tmp_path / "gateway.yaml").write_text(json.dumps({"stores": stores}))
    return tmp_path


@pytest.fixture
def lite(tmp_path: Path) -> Path:
    (tmp_path / "gateway.yaml").write_text("stores: {sqlite: keys.db}")
    return tmp_path


def keys(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k.startswith(("COV", "PATH", "PYTHON"))}
    return subprocess.run(
        [sys.executable, "-m", "gateway", "keys", *arguments],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def made(folder: Path, *arguments: str) -> tuple[str, str]:
    """Id and key that a command printed, and nothing else."""
    done = keys(folder, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    printed = re.fullmatch(r"id: (key_[0-9A-Za-z]{12})\n(gwk_[0-9A-Za-z]+)\n", done.stdout)
    assert printed is not None
    assert apikeys.is_sound(printed[2].encode())
    return printed[1], printed[2]


CREATE = ("create", "--owner", "Ann Ng", "--tier", "pro")


async def test_key_is_made_listed_rotated_and_revoked(folder: Path, database: Database) -> None:
    first, key = made(folder, *CREATE, "--scope", "a", "--scope", "b", "--expires", "90d")
    second, other = made(folder, "rotate", first, "--grace", "1h")
    done = keys(folder, "revoke", first)
    assert (done.returncode, done.stdout) == (0, f"revoked: {first}\n")
    done = keys(folder, "list")
    columns = r"ID +OWNER +TIER +SCOPES +STATE +CREATED +EXPIRES +LAST USED +ROTATED TO"
    assert re.fullmatch(
        f"{columns}\n"
        f"{first} +Ann Ng +pro +a b +revoked +{MOMENT} +{MOMENT} +- +{second}\n"
        f"{second} +Ann Ng +pro +a b +active +{MOMENT} +{MOMENT} +- +-\n",
        done.stdout,
    )
    assert key not in done.stdout
    stored = str(await database.fetch("SELECT * FROM gateway_api_keys"))
    assert key not in stored
    assert other not in stored
    assert apikeys.digest(key.encode()) in stored


def test_file_of_another_name_is_taken(lite: Path) -> None:
    (lite / "gateway.yaml").rename(lite / "other.yaml")
    name, _ = made(lite, *CREATE, "--config", "other.yaml")
    assert name in keys(lite, "list", "--config", "other.yaml").stdout
    assert not (lite / "gateway.db").exists()


def test_database_that_is_not_named_is_a_file_here(tmp_path: Path) -> None:
    made(tmp_path, *CREATE)
    assert (tmp_path / "gateway.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((*CREATE[:4], "gold"), "--tier: there is no such tier, only anonymous, free, pro, "),
        ((*CREATE, "--expires", "soon"), "--expires: expected a length of time"),
        ((*CREATE, "--scope", "two words"), "a scope is visible ASCII"),
        (("create", "--owner", "", "--tier", "pro"), "an owner is 1 to 128 printable"),
        (("rotate", "key_none"), "there is no key of this id"),
        (("rotate", "key_none", "--grace", "-1"), "--grace: expected a length of time"),
        (("revoke", "x' OR '1'='1"), "there is no key of this id"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_done(
    lite: Path, arguments: tuple[str, ...], problem: str
) -> None:
    done = keys(lite, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(problem)
    assert done.stderr.count("\n") == 1
    assert len(keys(lite, "list").stdout.splitlines()) == 1


def test_key_is_rotated_once(lite: Path) -> None:
    name, _ = made(lite, *CREATE)
    made(lite, "rotate", name)
    done = keys(lite, "rotate", name)
    assert (done.returncode, done.stderr) == (1, "the key was rotated already\n")


@pytest.mark.parametrize("arguments", [(), ("create",), ("create", "--owner", "a"), ("revoke",)])
def test_command_that_lacks_something_is_exit_2(lite: Path, arguments: tuple[str, ...]) -> None:
    assert keys(lite, *arguments).returncode == 2


def test_database_that_cannot_be_reached_is_said(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("stores: {postgres: 'postgresql://127.0.0.1:1/x'}")
    done = keys(tmp_path, "list")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "the database cannot be reached\n"
