"""`gateway users` as people run it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, stores: dict[str, str]) -> Path:
    """With the settings of a database."""
    (tmp_path / "gateway.yaml").write_text(json.dumps({"stores": stores}))
    return tmp_path


def users(folder: Path, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k.startswith(("COV", "PATH", "PYTHON"))}
    return subprocess.run(
        [sys.executable, "-m", "gateway", "users", *arguments],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(ROOT)},
        input=typed,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


async def test_user_is_added_listed_and_disabled(folder: Path) -> None:
    done = users(folder, "add", "Ann", "--scope", "a", "--scope", "b", typed="sesame-open\nmore\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "added: ann\n", "")
    (folder / "other.yaml").write_text((folder / "gateway.yaml").read_text())
    done = users(folder, "add", "ben", "--tier", "pro", "--config", "other.yaml", typed="sesame-2")
    assert (done.returncode, done.stdout) == (0, "added: ben\n")
    done = users(folder, "disable", "ben")
    assert (done.returncode, done.stdout) == (0, "disabled: ben\n")
    done = users(folder, "list")
    moment = r"20..-..-..T..:..:..Z"
    assert re.fullmatch(
        "NAME  SCOPES  TIER  CREATED               DISABLED\n"
        rf"ann   a b     free  {moment}  -\n"
        rf"ben   -       pro   {moment}  {moment}\n",
        done.stdout,
    )
    assert "sesame" not in done.stdout


@pytest.fixture
def lite(tmp_path: Path) -> Path:
    (tmp_path / "gateway.yaml").write_text("stores: {sqlite: users.db}")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "typed", "wrong"),
    [
        (("add", "ann"), "", "a password has 8 to 1024 characters"),
        (("add", "ann"), "secret", "a password has 8 to 1024 characters"),
        (("add", "a b"), "sesame-open", "a name is 1 to 128"),
        (("disable", "nobody"), "", "there is no such user"),
    ],
)
def test_what_does_not_do_is_told_on_standard_error(
    lite: Path, arguments: tuple[str, ...], typed: str, wrong: str
) -> None:
    done = users(lite, *arguments, typed=typed)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(wrong)
    assert done.stderr.count("\n") == 1
    assert not typed or typed not in done.stderr


def test_database_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("stores: {postgres: 'postgresql://127.0.0.1:1/x'}")
    done = users(tmp_path, "list")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "the database cannot be reached\n"


def test_bad_settings_are_told_as_by_other_commands(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("prot: 1")
    done = users(tmp_path, "list")
    assert (done.returncode, done.stdout) == (1, "")
    assert "prot" in done.stderr


@pytest.mark.parametrize(
    ("second", "code", "told"), [("sesame-open", 0, "added: ann"), ("sesame", 1, "two passwords")]
)
def test_password_is_asked_for_twice_at_a_terminal_and_not_shown(
    lite: Path, second: str, code: int, told: str
) -> None:
    master, slave = pty.openpty()
    kept = {k: v for k, v in os.environ.items() if k.startswith(("COV", "PATH", "PYTHON"))}
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "users", "add", "ann"],
        cwd=lite,
        env=kept | {"PYTHONPATH": str(ROOT)},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    ) as process:
        os.close(slave)
        shown = read_to(master, "Password: ")
        os.write(master, b"sesame-open\n")
        shown += read_to(master, "Once more: ")
        os.write(master, second.encode() + b"\n")
        shown += read_to(master, told)
        assert process.wait(20) == code
    os.close(master)
    assert "sesame" not in shown


def read_to(terminal: int, mark: str) -> str:
    text = ""
    while mark not in text:
        text += os.read(terminal, 1024).decode()
    return text
