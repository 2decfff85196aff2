"""What the documents say is so: the tour works as printed, examples load, names exist."""

from __future__ import annotations

import ast
import json
import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import pytest
import trustme

from gateway import apikeys, cli
from gateway.config import Settings, load, shape
from gateway.config.routes import Route as RouteSettings
from tests import servers

ROOT = Path(__file__).parent.parent
PATIENCE = 20.0
DOCUMENTS = (
    "README.md",
    "CHANGELOG.md",
    "docs/API_USAGE.md",
    "docs/ARCHITECTURE.md",
    "docs/POLICIES.md",
    "docs/REALTIME.md",
    "docs/PREDICTIONS.md",
    "docs/JOBS.md",
    "deploy/README.md",
)
CODE = re.compile(r"`([^`\n]+)`")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)\)")
SECRET = {"SECRET_KEY": "k" * 32}
HEADERS = frozenset(
    (
        "Allow",
        "Authorization",
        "Connection",
        "Deprecation",
        "Expect",
        "Link",
        "Location",
        "Sunset",
        "Vary",
    )
)


@cache
def text_of(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def blocks(name: str, language: str) -> list[str]:
    return [block for kind, block in FENCED.findall(text_of(name)) if kind == language]


# -------------------------------------------------------------------------------- the tour


def calls(block: str) -> Iterator[tuple[str, list[str]]]:
    """Commands with what the comment lines behind them say that they print."""
    command, printed = "", list[str]()
    for line in block.splitlines():
        if whole(command) and line.startswith("#"):
            printed.append(line.removeprefix("#").removeprefix(" "))
            continue
        if command and whole(command):
            yield command, printed
            command, printed = "", []
        command = f"{command}\n{line}" if command else line
    yield command, printed


def whole(command: str) -> bool:
    """Whether its quotes are closed."""
    try:
        return bool(shlex.split(command))
    except ValueError:
        return False


def agrees(said: str, printed: str) -> bool:
    """Whether `printed` is what `said` announces, in which `…` stands for anything."""
    pattern = ".*".join(map(re.escape, said.split("…")))
    return re.fullmatch(pattern, printed, re.DOTALL) is not None


def without_blank_lines(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.strip())


@contextmanager
def running_demo() -> Iterator[tuple[subprocess.Popen[bytes], int, Path]]:
    """`gateway demo` with its port and the file of its log."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as sink, said_of(log).open("wb") as said:
            demo = subprocess.Popen(
                [sys.executable, "-m", "gateway", "demo", "--port", "0"],
                cwd=ROOT,
                stdout=sink,
                stderr=said,
                preexec_fn=servers.end_with(os.getpid(), signal.SIGKILL),
            )
        try:
            yield demo, json.loads(logged(log, '{…"event":"worker_started"…}'))["ports"][0], log
        finally:
            demo.kill()
            demo.wait()


def logged(log: Path, said: str) -> str:
    """The line of the log that `said` announces, or nothing when it does not come in time."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for line in log.read_text("utf-8").splitlines():
            if agrees(said, line):
                return line
        time.sleep(0.01)  # a file tells nobody that it grew
    return ""


def said_of(log: Path) -> Path:
    """What the demo told whoever started it."""
    return log.with_name("said")


def database_of(said: Path) -> str:
    """The file that the demo says it keeps keys in; it was said before a worker started."""
    found = re.search(r"SQLITE=(\S+)", said.read_text("utf-8"))
    assert found is not None
    return found[1]


def test_tour_of_the_readme_gives_what_it_says() -> None:
    wrong = []
    with running_demo() as (demo, port, log):
        stands_for = {
            "127.0.0.1:8000": f"127.0.0.1:{port}",
            ".venv/bin/python": sys.executable,
            ".venv/bin/gateway": f"{sys.executable} -m gateway",
            "$(pgrep -of 'gateway demo')": str(demo.pid),
            "/tmp/gateway-demo-…/gateway.db": database_of(said_of(log)),
        }
        for command, said in (call for block in blocks("README.md", "sh") for call in calls(block)):
            for printed, real in stands_for.items():
                command = command.replace(printed, real)
            ended = subprocess.run(
                ["sh", "-c", command], capture_output=True, text=True, timeout=PATIENCE
            )
            output = without_blank_lines(ended.stdout)
            if made := re.search(r"^gwk_\w+$", output, re.MULTILINE):
                stands_for["gwk_…"] = made[0]
            if ended.returncode or ended.stderr or not agrees("\n".join(said), output):
                wrong.append((command, ended.returncode, output, ended.stderr))
        told = [line for block in blocks("README.md", "json") for line in block.splitlines()]
        assert not wrong
        assert not [line for line in told if not logged(log, line)]
        assert demo.wait(PATIENCE) == 0
    assert len(told) == 3


def test_tour_is_told_apart_into_commands_and_what_they_print() -> None:
    block = "one 'a\nb'\n# 1\n#\n# {2}\ntwo\nthree\n# 3"
    assert list(calls(block)) == [
        ("one 'a\nb'", ["1", "", "{2}"]),
        ("two", []),
        ("three", ["3"]),
    ]


@pytest.mark.parametrize(
    ("said", "printed", "agreed"),
    [
        ("a…c", "abc", True),
        ("a…c", "ac", True),
        ("a…c", "abcd", False),
        ("a.c", "abc", False),
        ("", "a", False),
    ],
)
def test_only_an_ellipsis_stands_for_anything(said: str, printed: str, agreed: bool) -> None:
    assert agrees(said, printed) is agreed


# ---------------------------------------------------------------------------- the examples


def loaded(block: str, folder: Path) -> Settings:
    """What a block of YAML comes to, with the document beside it that routes name."""
    (folder / "orders.yaml").write_text(text_of("deploy/examples/orders.yaml"), "utf-8")
    (folder / "gateway.yaml").write_text(block, "utf-8")
    return load(None, SECRET, {}, folder)


@pytest.mark.parametrize("number", range(len(blocks("README.md", "yaml"))))
def test_example_of_the_readme_is_valid(number: int, tmp_path: Path) -> None:
    assert len(loaded(blocks("README.md", "yaml")[number], tmp_path).routes) == 3


@pytest.mark.parametrize("number", range(len(blocks("docs/POLICIES.md", "yaml"))))
def test_example_of_a_policy_is_valid(number: int, tmp_path: Path) -> None:
    assert loaded(blocks("docs/POLICIES.md", "yaml")[number], tmp_path).routes


def test_every_policy_has_an_example(tmp_path: Path) -> None:
    shown = {
        key
        for block in blocks("docs/POLICIES.md", "yaml")
        for route in loaded(block, tmp_path).routes
        for key in route.model_fields_set
    }
    fields = list(RouteSettings.model_fields)
    assert set(fields[fields.index("auth") :]) - shown == set()


def test_keys_are_found_by_what_scanners_are_told() -> None:
    (expression,) = (b for b in blocks("docs/POLICIES.md", "") if b.startswith(r"\b"))
    assert expression == rf"\b{apikeys.FORM}\b" + "\n"
    assert re.findall(expression.strip(), f"KEY={apikeys.make(secrets.choice)};")


@pytest.fixture
def certificates(tmp_path: Path) -> Mapping[str, str]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = authority.issue_cert("gateway.test")
    server.private_key_pem.write_to_path(tmp_path / "key.pem")
    server.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    names = {"TLS_CERT": "cert.pem", "TLS_KEY": "key.pem", "UPSTREAM_CA": "ca.pem"}
    return SECRET | {name: str(tmp_path / file) for name, file in names.items()}


def test_example_to_deploy_is_valid(certificates: Mapping[str, str], tmp_path: Path) -> None:
    settings = load(ROOT / "deploy" / "gateway.yaml", certificates, {}, tmp_path)
    assert settings.environment == "production"
    assert settings.stores.redis is None


def test_example_to_deploy_has_every_section(
    certificates: Mapping[str, str], tmp_path: Path
) -> None:
    settings = load(ROOT / "deploy" / "gateway.yaml", certificates, {}, tmp_path)
    assert set(tables_of(Settings)) == set(tables_in(settings))


def test_every_line_of_the_example_for_the_environment_is_valid(tmp_path: Path) -> None:
    text = re.sub(r"^# ([A-Z0-9_]+=)", r"\1", text_of(".env.example"), flags=re.MULTILINE)
    named = re.findall(r"^([A-Z0-9_]+)=", text, re.MULTILINE)
    assert {"API_TOKEN", "BACKEND_CORS_ORIGINS", "GATEWAY_SECRET_KEY"} <= set(named)
    (tmp_path / ".env").write_text(text, "utf-8")
    (tmp_path / "gateway.yaml").write_text("workers: 3", "utf-8")  # which GATEWAY_CONFIG names
    settings = load(None, {}, {}, tmp_path)
    assert settings.workers == 3
    assert len(settings.cors.origins) == 2
    assert len(settings.routes) == 2


def tables_of(table: Any) -> Iterator[str]:
    """Each table that can be written, named by its class."""
    yield table.__name__
    for field in table.model_fields.values():
        kind = shape.bare(field.annotation)
        if shape.is_list(kind) or shape.is_mapping(kind):
            kind = shape.bare(get_args(kind)[shape.is_mapping(kind)])
        if shape.is_table(kind):
            yield from tables_of(kind)


def tables_in(value: Any) -> Iterator[str]:
    """Each table that was written in these settings."""
    if shape.is_table(type(value)):
        yield type(value).__name__
        for key in value.model_fields_set:
            yield from tables_in(getattr(value, key))
    elif isinstance(value, Mapping | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from tables_in(each)


# ------------------------------------------------------------------------------- the names


@cache
def defined() -> frozenset[str]:
    """Every name that the package gives to something."""
    names = set[str]()
    for path in (ROOT / "gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.Attribute):
                names.add(node.attr)
    return frozenset(names)


def exists(path: str) -> bool:
    """In the tree, among the documents, or below the package as the architecture names files."""
    return any((base / path).exists() for base in (ROOT, ROOT / "docs", ROOT / "gateway"))


def missing_names(text: str) -> Iterator[str]:
    for code in CODE.findall(text):
        module = re.fullmatch(r"gateway(\.[a-z]\w*)+", code) and not code.endswith(".yaml")
        if module and find_spec(code) is None:
            yield code
        name = re.fullmatch(r"[A-Z][a-z]\w*(\.\w+)*", code) and not (ROOT / code).exists()
        if name and code not in HEADERS and not set(code.split(".")) <= defined():
            yield code
    prose = FENCED.sub(lambda m: "" if m[1] else m[2], text)  # diagrams too, examples not
    for path in re.findall(r"(?<![\w./:*-])\w[\w.-]*(?:/[\w.-]+)*\.(?:py|md)\b", prose):
        if not exists(path):
            yield path
    for folder in re.findall(r"(?<![\w./:*-])(\w[\w-]*(?:/[\w-]+)*)/(?![\w*.])", prose):
        if not exists(folder):
            yield folder + "/"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_names_in_a_document_exist(document: str) -> None:
    assert list(missing_names(text_of(document))) == []


@pytest.mark.parametrize(
    "text",
    [
        "see `gateway.nowhere`",
        "see gateway/nowhere.py",
        "see `nowhere/` there",
        "`Nobody` does",
        "`Relay.nothing` does",
        "```\n  proxy/nowhere.py\n```",
    ],
)
def test_name_that_does_not_exist_is_found(text: str) -> None:
    assert len(list(missing_names(text))) == 1


@pytest.mark.parametrize("document", [*DOCUMENTS, "docs/CONFIGURATION.md", "bench/README.md"])
def test_links_of_a_document_lead_somewhere(document: str) -> None:
    folder = (ROOT / document).parent
    broken = [link for link in LINK.findall(text_of(document)) if not (folder / link).exists()]
    assert broken == []


def test_architecture_names_every_part_of_the_package() -> None:
    parts = {
        path.name + "/" * path.is_dir()
        for path in (ROOT / "gateway").iterdir()
        if (path.suffix == ".py" or path.is_dir()) and not path.name.startswith("__")
    }
    page = text_of("docs/ARCHITECTURE.md")
    assert [part for part in sorted(parts) if not re.search(rf"\b{re.escape(part)}", page)] == []


def test_states_in_the_architecture_are_those_of_the_source() -> None:
    source = text_of("gateway/downstream.py")
    states = re.search(r"^([A-Z, ]+) = range", source, re.MULTILINE)
    assert states is not None
    page = text_of("docs/ARCHITECTURE.md")
    assert re.findall(r"^\| ([A-Z]+) \|", page, re.MULTILINE) == states[1].split(", ")


def test_targets_of_make_in_the_documents_exist() -> None:
    named = {
        name for each in DOCUMENTS for name in re.findall(r"\bmake ([a-z]+)\b`", text_of(each))
    }
    assert named
    assert named <= set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE))


def test_commands_in_the_documents_exist(capsys: pytest.CaptureFixture[str]) -> None:
    text = "\n".join(map(text_of, (*DOCUMENTS, "deploy/gateway.yaml")))
    named = set(re.findall(r"(?:`|# +)gateway ([a-z]+)\b", text))
    assert {"serve", "demo", "check", "routes", "keys", "users"} <= named
    for command in named:
        with pytest.raises(SystemExit) as ended:
            cli.main([command, "--help"])
        assert ended.value.code == 0


@pytest.mark.parametrize(
    ("document", "most"),
    [
        ("README.md", 250),
        ("docs/ARCHITECTURE.md", 200),
        ("docs/POLICIES.md", 250),
        ("docs/REALTIME.md", 201),
        ("docs/JOBS.md", 131),
    ],
)
def test_document_can_be_read_in_one_sitting(document: str, most: int) -> None:
    assert text_of(document).count("\n") < most
