"""schemathesis asks a real gateway whatever its document allows, and more: each answer is in it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from gateway.commands import users
from gateway.config import Settings
from tests import servers
from tests.e2e.life import Program, answering, request, running
from tests.e2e.stage import environ

EXAMPLES = 10
PATIENCE = 120.0  # s
ENDLESS = ("/api/stream/predictions", "/ws/predictions")  # they answer as long as one listens
# What is good there depends on what there is: a tier, a key that was not revoked.
PARTICULAR = ("/api/gateway/keys", "/api/gateway/keys/rotate")
REFUSALS = (400, 401, 403, 404, 409, 412, 413, 414, 422)  # of what is not in the document
OFTEN = "100000/minute"
ADMIN = ("root", "sesame-open-sesame")
OURS = ("operation", "keys", "live updates")
TABLES = """
  CREATE TABLE pages (
    id integer PRIMARY KEY,
    slug text NOT NULL UNIQUE CHECK (length(slug) <= 80),
    title varchar(120) NOT NULL,
    views integer NOT NULL DEFAULT 0
  );
  INSERT INTO pages (slug, title) VALUES ('first', 'A page'), ('second', 'Another');
"""


async def document_of(program: Program) -> dict[str, Any]:
    """What it says of itself, without what lets any other error pass."""
    document: dict[str, Any] = await program.json("/api/openapi.json")
    validate(document)
    for item in document["paths"].values():
        for operation in item.values():
            operation["responses"].pop("default", None)
    return document


async def broken(folder: Path, program: Program, document: dict[str, Any], *more: str) -> str:
    """What schemathesis found; nothing if all is well.

    It asks as a user, for it finds keys in answers, and revokes them.
    """
    token = await signed_in(program)
    (folder / "openapi.json").write_text(json.dumps(document))
    taken = "checks.positive_data_acceptance.enabled = false"
    tables = [f"[[operations]]\ninclude-path = {path!r}\n{taken}\n" for path in PARTICULAR]
    refusals = f"[checks.negative_data_rejection]\nexpected-statuses = {list(REFUSALS)}\n"
    (folder / "schemathesis.toml").write_text("\n".join((refusals, *tables)))
    excluded: Sequence[str] = [f"--exclude-path={path}" for path in ENDLESS]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml"),
        *("run", "openapi.json", "--url", f"http://127.0.0.1:{program.port}"),
        *("--header", f"Authorization: Bearer {token}", "--phases", "coverage,fuzzing"),
        *("--max-examples", str(EXAMPLES), "--seed", "1", "--no-shrink", "--continue-on-failure"),
        *("--warnings", "off", "--no-color", *excluded, *more),
        cwd=folder,
        env=environ(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        preexec_fn=servers.end_with(os.getpid(), signal.SIGKILL),
    )
    async with asyncio.timeout(PATIENCE):
        said, _ = await process.communicate()
    text = said.decode()
    assert "API Operations:" in text, text
    return "" if process.returncode == 0 else text


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    """Everything that a gateway can have of its own, on embedded stores."""
    login = {"per_account": OFTEN, "per_address": OFTEN}
    return {
        "stores": {"sqlite": str(folder / "gateway.db")},
        "secret_key": "k" * 32,
        "auth": {"login": login},
        "realtime": True,
        **more,
    }


@asynccontextmanager
async def administered(folder: Path, **more: Any) -> AsyncIterator[Program]:
    """A gateway that has an administrator."""
    table = settings(folder, **more)
    made = Settings.model_validate(table)
    await asyncio.to_thread(users.add, made, *ADMIN, ("admin",), "pro")
    async with running(folder, **table) as program:
        yield program


async def signed_in(program: Program) -> str:
    name, password = ADMIN
    body = json.dumps({"username": name, "password": password}).encode()
    client = await program.send(request("POST", "/auth/login", body=body))
    _, answer = await client.answer()
    await client.close()
    token: str = json.loads(answer)["access_token"]
    return token


def never_let_in(program: Program, document: dict[str, Any]) -> list[str]:
    """Paths that want credentials, and at which all that was asked was refused for lack of them."""
    statuses: dict[str, set[int]] = {}
    for line in program.found("request"):
        statuses.setdefault(line["path"], set()).add(line["status_code"])
    return [
        path
        for path, item in document["paths"].items()
        if any("security" in operation for operation in item.values())
        and path in statuses  # the others were not asked, or have a parameter
        and statuses[path] <= {401, 405}
    ]


@pytest.mark.timeout(2 * PATIENCE)
async def test_no_answer_of_the_gateway_breaks_its_document(tmp_path: Path) -> None:
    async with answering() as upstream:
        cached = {"prefix": "/cached", "target_url": upstream.url, "cache": True}
        async with administered(tmp_path, routes=[cached]) as program:
            document = await document_of(program)
            found = await broken(tmp_path, program, document, "--exclude-path-regex=^/cached")
    assert not found, found
    assert not never_let_in(program, document)


@pytest.mark.timeout(2 * PATIENCE)
@pytest.mark.parametrize(
    ("api", "more"),
    [
        ("predictions", ()),
        # What is good there depends on the rows, and on what other requests made of them.
        (
            "jobs",
            ("--exclude-checks=positive_data_acceptance", "--exclude-path=/progress/{job_id}"),
        ),
        ("pages", ("--exclude-checks=positive_data_acceptance",)),
    ],
)
async def test_no_answer_of_an_api_breaks_the_document(
    tmp_path: Path, api: str, more: tuple[str, ...]
) -> None:
    await asyncio.to_thread(migrate, tmp_path / "gateway.db")
    async with administered(tmp_path, apis={api: {"auth": "any"}}) as program:
        document = await document_of(program)
        mine = [path for path, item in document["paths"].items() if is_of(item)]
        assert mine
        chosen = [f"--include-path={path}" for path in mine]
        found = await broken(tmp_path, program, document, *chosen, *more)
    assert not found, found
    assert not never_let_in(program, document)


def is_of(item: dict[str, Any]) -> bool:
    """Whether a path is one of this API's: only these want a key."""
    return any("security" in o and o["tags"][0] not in OURS for o in item.values())


def migrate(file: Path) -> None:
    """What somebody else does: a table of pages, and predictions."""
    with closing(sqlite3.connect(file)) as database, database:
        database.executescript(TABLES)


@pytest.mark.timeout(2 * PATIENCE)
async def test_answer_that_is_not_in_the_document_is_found(tmp_path: Path) -> None:
    """The test itself: an answer that lacks what the document says breaks it."""
    async with administered(tmp_path) as program:
        document = await document_of(program)
        document["components"]["schemas"]["Alive"]["required"] = ["status", "since"]
        del document["paths"]["/auth/logout"]["post"]["responses"]["422"]
        found = await broken(tmp_path, program, document, "--include-path-regex=live|logout")
    assert "'since' is a required property" in found or '"since" is a required property' in found
    assert "422" in found
