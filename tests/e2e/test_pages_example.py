"""deploy/examples/pages.yaml at work: each sentence of its first lines."""

from __future__ import annotations

import json
import shlex
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.life import ROOT, Program

EXAMPLES = ROOT / "deploy" / "examples"


@pytest.fixture
def commands() -> list[str]:
    """Those that the example names."""
    text = (EXAMPLES / "pages.yaml").read_text("utf-8")
    return [line[1:].strip() for line in text.splitlines() if line.startswith("#   ")]


@pytest.fixture
def file(tmp_path: Path, commands: list[str]) -> str:
    """The database that the first of them makes."""
    migrating, serving = commands[0].split(" && ")
    assert serving == "gateway serve --config deploy/examples/pages.yaml"
    made = str(tmp_path / "pages.db")
    script = ROOT / shlex.split(migrating)[1]
    subprocess.run([sys.executable, script, made], check=True, timeout=20)
    return made


async def test_example_runs_by_the_commands_it_names(commands: list[str], file: str) -> None:
    program = Program(EXAMPLES / "pages.yaml")
    await program.start(PAGES_DB=file, PORT="0")
    try:
        lists, _ = (shlex.split(command) for command in commands[1:3])
        status, _, body = await program.get(lists[1].removeprefix("http://127.0.0.1:8000"))
        found = json.loads(body)
        assert (status, found["total"], found["items"][0]["slug"]) == (200, 1, "welcome")
        data = shlex.split(commands[2])[3].encode()
        path = commands[2].split()[1].removeprefix("http://127.0.0.1:8000")
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        answered, made = await (await program.send(head + data)).answer()
        assert (answered.split()[1], json.loads(made)["slug"]) == (b"201", "third")
        assert (await program.get("/api/v1/live_pages/1"))[0] == 200
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("ALTER TABLE authors ADD COLUMN age INTEGER")
        program.signal(signal.SIGHUP)
        await program.event("reloaded")
        assert json.loads((await program.get("/api/v1/authors/1"))[2])["age"] is None
    finally:
        await program.kill()
