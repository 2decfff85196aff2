"""The shape of the package, read from its source: imports point down, leaves can be taken away.

To add a module, write its name into LAYERS. A folder's name stands for every file in it, a file
may have a line of its own. Imports for the type checker and inside functions count like all others.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = "gateway"
ROOT = Path(__file__).parent.parent / PACKAGE
MOST_LINES = 400

# From the top down: a module imports from its own row and from those below.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"__main__"}),
    frozenset({"cli"}),
    frozenset({"demo", "commands", "worker"}),
    frozenset({"samples"}),
    frozenset({"workers"}),
    frozenset({"server"}),
    frozenset({"app"}),
    frozenset({"described"}),
    frozenset({"generation", "live", "apis"}),
    frozenset({"edge"}),
    frozenset({"identities", "storage", "apis.jobs", "apis.pages", "apis.predictions"}),
    frozenset(
        {
            "abouts",
            "api",
            "pipeline",
            "acceptor",
            "downstream",
            "local",
            "shared",
            "standby",
            "policies",
            "proxy",
            "endpoints",
            "realtime",
            "stores.memory",
            "stores.sqlite",
            "stores.redis",
            "stores.postgres",
            "stores.nats",
            "stores.redis_cache",
        }
    ),
    frozenset({"caching.flight"}),
    frozenset({"caching.serving", "caching.receiver"}),
    frozenset({"delivery", "waiting"}),
    frozenset(
        {
            "routing",
            "upstreams",
            "telemetry",
            "predictions",
            "stores.shared_predictions",
            "stores.shared",
            "stores.shared_cache",
            "stores.shared_bus",
        }
    ),
    frozenset({"identity", "jobs", "tables", "keyring", "apidocs"}),
    frozenset({"limits", "caching"}),
    frozenset(
        {"front", "exchange", "own", "bodies", "headers", "http1", "openapi", "stores", "config"}
    ),
    frozenset(
        {
            "authorities",
            "errors",
            "units",
            "apikeys",
            "deadline",
            "jobs.job",
            "listening",
            "proxyprotocol",
        }
    ),
    frozenset({""}),  # the package itself: its version
)
# Each file here, or each folder as a whole, can be deleted without touching another one: it
# imports only from the rows below its own.
LEAF_FILES = frozenset({"policies", "endpoints"})
LEAF_FOLDERS = frozenset({"realtime"})
ADAPTERS = frozenset(f"stores.{name}" for name in ("memory", "sqlite", "redis", "postgres", "nats"))
COMPOSITION_ROOT = "storage"
# What a library is to us lives in one module: the one named, or whichever it is.
LIBRARIES: Mapping[str, str | None] = {
    "redis": "stores.redis",
    "asyncpg": "stores.postgres",
    "nats": "stores.nats",
    "aiosqlite": "stores.sqlite",
    "prometheus_client": None,
    "prometheus_async": None,
    "jsonschema_rs": "openapi.checks",
    "uvloop": "server",
    "jwt": "identity.jose",
    "argon2": "identity.passwords",
    "brotli": "http1.encoders",
    "backports": "http1.encoders",
}


def tree_of(root: Path) -> dict[str, str]:
    """Source by module, named without the package: "", "cli", "config", "config.loader"."""
    sources = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        sources[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text()
    return sources


def violations(sources: Mapping[str, str]) -> list[str]:
    """Every broken rule, as `module: what is wrong`."""
    modules = {name: ast.parse(text) for name, text in sources.items()}
    graph = {name: set(inner_imports(tree, sources)) - {name} for name, tree in modules.items()}
    found: list[str] = []
    for name, tree in modules.items():
        found += wrong_size(name, tree, sources[name])
        found += relative_imports(name, tree)
        found += [complaint for other in sorted(graph[name]) for complaint in wrong(name, other)]
        if layer(name) is None:
            found.append(
                f"{shown(name)}: stands in no row of LAYERS; add it to the one it belongs to"
            )
    found += stray_libraries(modules)
    found += [
        f"{shown(ring[0])}: a cycle: {' > '.join(map(shown, ring))}" for ring in cycles(graph)
    ]
    return found


def shown(name: str) -> str:
    return f"{PACKAGE}.{name}" if name else PACKAGE


def entry(name: str, table: frozenset[str]) -> str | None:
    """The longest entry of `table` that is the module or a folder it lies in."""
    while True:
        if name in table:
            return name
        if "." not in name:
            return None
        name = name.rpartition(".")[0]


def layer(name: str) -> int | None:
    """The row of a module; the more exact entry wins (stores.redis over stores)."""
    rows = {e: row for row, names in enumerate(LAYERS) if (e := entry(name, names)) is not None}
    return rows[max(rows, key=len)] if rows else None


def leaf(name: str) -> str | None:
    """The leaf that a module is, or is part of."""
    if entry(name, LEAF_FILES):
        return name
    return entry(name, LEAF_FOLDERS | ADAPTERS)


def imports(tree: ast.Module) -> Iterator[tuple[str, str | None]]:
    """(module, name taken out of it or None) for every absolute import, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            for alias in node.names:
                yield node.module, alias.name


def inner_imports(tree: ast.Module, known: Mapping[str, str]) -> Iterator[str]:
    """The package's own modules that this one imports."""
    for module, name in imports(tree):
        if module != PACKAGE and not module.startswith(PACKAGE + "."):
            continue
        inner = module[len(PACKAGE) + 1 :]
        part = f"{inner}.{name}".lstrip(".")
        yield part if name and part in known else inner


def wrong(name: str, other: str) -> Iterator[str]:
    """What is wrong with `name` importing `other`."""
    mine, theirs = layer(name), layer(other)
    if mine is None or theirs is None:
        return  # complained of by name
    if theirs < mine:
        yield f"{shown(name)}: imports {shown(other)}, which is above it"
    if theirs == mine and leaf(name) and leaf(name) != leaf(other):
        yield f"{shown(name)}: a leaf imports {shown(other)}, which is beside it"
    if entry(other, ADAPTERS) and name != COMPOSITION_ROOT and leaf(name) != leaf(other):
        yield f"{shown(name)}: imports {shown(other)}; only {shown(COMPOSITION_ROOT)} may"


def stray_libraries(modules: Mapping[str, ast.Module]) -> Iterator[str]:
    for library, home in LIBRARIES.items():
        users = [
            name
            for name, tree in modules.items()
            if any(module.partition(".")[0] == library for module, _ in imports(tree))
        ]
        allowed = home if home is not None else next(iter(users), None)
        for name in users:
            if name != allowed and allowed is not None:
                yield f"{shown(name)}: imports {library}, which lives in {shown(allowed)}"


def relative_imports(name: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level > 0:
            yield f"{shown(name)}:{node.lineno}: a relative import"


def wrong_size(name: str, tree: ast.Module, text: str) -> Iterator[str]:
    lines = text.count("\n")
    reason = any(line.startswith("Length:") for line in (ast.get_docstring(tree) or "").split("\n"))
    if lines > MOST_LINES and not reason:
        yield (
            f"{shown(name)}: {lines} lines, more than {MOST_LINES}, and its docstring has no line "
            "`Length: why`"
        )


def cycles(graph: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """One ring for each import that closes one, found depth first."""
    finished: set[str] = set()

    def visit(name: str, path: list[str]) -> Iterator[list[str]]:
        if name in path:
            yield [*path[path.index(name) :], name]
            return
        if name in finished:
            return
        for other in sorted(graph.get(name, ())):
            yield from visit(other, [*path, name])
        finished.add(name)

    for name in sorted(graph):
        yield from visit(name, [])


def test_package_keeps_its_shape() -> None:
    found = violations(tree_of(ROOT))
    assert not found, "\n" + "\n".join(found)


# The checker itself, on small trees: each breaks one rule, and only that one.

LONG = "X = 1\n" * (MOST_LINES + 1)

BROKEN = {
    "upward": (
        {"errors": "from gateway.config import Settings", "config": ""},
        "gateway.errors: imports gateway.config, which is above it",
    ),
    "upward_by_plain_import": (
        {"units": "import gateway.pipeline", "pipeline": ""},
        "gateway.units: imports gateway.pipeline, which is above it",
    ),
    "upward_out_of_the_package": (
        {"": "", "units": "from gateway import cli", "cli": ""},
        "gateway.units: imports gateway.cli, which is above it",
    ),
    "upward_for_the_type_checker": (
        {
            "exchange": "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from gateway.telemetry.metrics import Route",
            "telemetry.metrics": "",
        },
        "gateway.exchange: imports gateway.telemetry.metrics, which is above it",
    ),
    "upward_inside_a_function": (
        {"server": "def run():\n    from gateway.workers import stop", "workers": ""},
        "gateway.server: imports gateway.workers, which is above it",
    ),
    "leaf_to_sibling": (
        {"policies.auth": "from gateway.policies.cache import Cache", "policies.cache": ""},
        "gateway.policies.auth: a leaf imports gateway.policies.cache, which is beside it",
    ),
    "leaf_to_leaf_of_another_folder": (
        {"endpoints.jobs": "from gateway.realtime.hub import Hub", "realtime.hub": ""},
        "gateway.endpoints.jobs: a leaf imports gateway.realtime.hub, which is beside it",
    ),
    "leaf_to_spine_beside_it": (
        {"policies.cors": "from gateway.pipeline import handle", "pipeline": ""},
        "gateway.policies.cors: a leaf imports gateway.pipeline, which is beside it",
    ),
    "adapter_outside_the_root": (
        {"pipeline": "from gateway.stores import redis", "stores": "", "stores.redis": ""},
        "gateway.pipeline: imports gateway.stores.redis; only gateway.storage may",
    ),
    "adapter_from_below": (
        {"server": "import gateway.stores.sqlite", "stores.sqlite": ""},
        "gateway.server: imports gateway.stores.sqlite; only gateway.storage may",
    ),
    "cycle": (
        {"server": "import gateway.server.a", "server.a": "import gateway.server"},
        "gateway.server: a cycle: gateway.server > gateway.server.a > gateway.server",
    ),
    "cycle_of_three": (
        {
            "api": "from gateway import pipeline",
            "pipeline": "from gateway.proxy.http import Proxy",
            "proxy.http": "import gateway.api",
        },
        "gateway.api: a cycle: gateway.api > gateway.pipeline > gateway.proxy.http > gateway.api",
    ),
    "library_in_the_wrong_module": (
        {"pipeline": "import uvloop"},
        "gateway.pipeline: imports uvloop, which lives in gateway.server",
    ),
    "library_part_in_the_wrong_module": (
        {"stores.memory": "from redis.asyncio import Redis"},
        "gateway.stores.memory: imports redis, which lives in gateway.stores.redis",
    ),
    "library_in_two_modules": (
        {"telemetry.a": "import prometheus_client.core", "telemetry.b": "import prometheus_client"},
        "gateway.telemetry.b: imports prometheus_client, which lives in gateway.telemetry.a",
    ),
    "relative": (
        {"config.model": "from . import kinds"},
        "gateway.config.model:1: a relative import",
    ),
    "too_long": (
        {"headers": LONG},
        "gateway.headers: 401 lines, more than 400, and its docstring has no line `Length: why`",
    ),
    "unknown": (
        {"helpers": ""},
        "gateway.helpers: stands in no row of LAYERS; add it to the one it belongs to",
    ),
}


@pytest.mark.parametrize(("tree", "complaint"), BROKEN.values(), ids=BROKEN)
def test_broken_rule_is_named(tree: dict[str, str], complaint: str) -> None:
    assert violations(tree) == [complaint]


SOUND = {
    "downward": {
        "cli": "from gateway.workers import run",
        "workers": "import gateway.units",
        "units": "",
    },
    "beside_on_the_spine": {
        "api": "from gateway.endpoints import health",
        "endpoints.health": "",
        "endpoints": "",
    },
    "root_imports_adapters": {
        "storage": "from gateway.stores.redis import Limiter",
        "stores.redis": "import redis",
    },
    "adapter_imports_its_protocols": {
        "stores.nats": "from gateway.stores import Bus\nimport nats",
        "stores": "",
    },
    "folder_leaf_imports_inside": {
        "realtime.session": "import gateway.realtime.wire",
        "realtime.wire": "",
    },
    "name_out_of_a_package": {
        "server": "from gateway import __version__",
        "": "__version__ = '1'",
    },
    "library_of_a_like_name": {"units": "import gateway_of_another, redistribute"},
    "long_with_reason": {"http1": '"""HTTP.\n\nLength: one grammar, one file.\n"""\n' + LONG},
}


@pytest.mark.parametrize("tree", SOUND.values(), ids=SOUND)
def test_sound_tree_passes(tree: dict[str, str]) -> None:
    assert violations(tree) == []


def test_tree_is_read_with_packages_under_their_own_name(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    for file in ("__init__.py", "cli.py", "config/__init__.py", "config/loader.py"):
        (tmp_path / file).write_text(f"# {file}")
    assert tree_of(tmp_path) == {
        "": "# __init__.py",
        "cli": "# cli.py",
        "config": "# config/__init__.py",
        "config.loader": "# config/loader.py",
    }
