"""The command line; the only module that prints.

What a command needs is imported when it runs, so that `--version` and a typo answer at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import __version__

if TYPE_CHECKING:
    from gateway.config.model import Route, Settings

_COLUMNS = (
    "NAME",
    "HOSTS",
    "METHODS",
    "MATCH",
    "UPSTREAM -> TARGETS",
    "REWRITE",
    "TIMEOUT",
    "WEBSOCKET",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 1 for bad settings, 2 for a bad command line."""
    options = _parser().parse_args(arguments)
    from gateway.config.problems import ConfigError

    try:
        return int(options.run(options))
    except ConfigError as error:
        print(error, file=sys.stdout if options.command == "check" else sys.stderr)
        return 1


def serve(options: argparse.Namespace) -> int:
    """Runs the gateway until it is told to stop; reads the settings again on SIGHUP."""
    settings = _settings(options)
    from gateway import workers

    return workers.run(settings, reload=lambda: _settings(options))


def demo(options: argparse.Namespace) -> int:
    """Runs the gateway with sample services behind it."""
    from gateway import demo as sample

    return sample.run(options.host, options.port, options.config)


def check(options: argparse.Namespace) -> int:
    """Says what is wrong with the settings, or how much there is when nothing is."""
    settings = _settings(options)
    print(f"ok: {_counted(len(settings.routes), 'route')}", end=", ")
    print(_counted(len(settings.upstreams), "upstream"))
    return 0


def routes(options: argparse.Namespace) -> int:
    """Prints the routing table."""
    settings = _settings(options)
    rows = [_COLUMNS, *(_row(settings, route) for route in settings.routes)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    return 0


def _settings(options: argparse.Namespace) -> Settings:
    from gateway.config.loader import load

    flags = {name: getattr(options, name, None) for name in ("host", "port", "workers")}
    return load(options.config, os.environ, flags, Path.cwd())


def _row(settings: Settings, route: Route) -> tuple[str, ...]:
    name, upstream = settings.upstream_of(route)
    targets = ", ".join(
        target.url if target.weight == 1 else f"{target.url} (weight {target.weight})"
        for target in upstream.targets
    )
    timeout = settings.timeout if route.timeout is None else route.timeout
    return (
        route.name,
        ", ".join(route.hosts) or "*",
        ", ".join(route.methods) or "*",
        f"= {route.path}" if route.path is not None else f"{(route.prefix or '').rstrip('/')}/*",
        f"{name} -> {targets}" if route.upstream is not None else targets,
        (route.rewrite or "/") if route.strip_prefix else "-",
        f"{timeout:g} s",
        "yes" if route.websocket else "no",
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gateway", description="An API gateway.")
    parser.add_argument("--version", action="version", version=f"gateway {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    config = argparse.ArgumentParser(add_help=False)
    config.add_argument(
        "--config", type=Path, metavar="FILE", help="the settings' file (else gateway.yaml)"
    )
    one = commands.add_parser("serve", parents=[config], help="run the gateway")
    # As text: the settings say what is wrong with them, next to everything else that is wrong.
    one.add_argument("--host", help="address to listen on")
    one.add_argument("--port", help="port to listen on")
    one.add_argument("--workers", metavar="N", help="processes that share the port; 0 = per core")
    one.set_defaults(run=serve)

    one = commands.add_parser(
        "demo", parents=[config], help="run it with sample services behind it"
    )
    one.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    one.add_argument("--port", default=8000, type=int, help="port to listen on (8000)")
    one.set_defaults(run=demo)

    one = commands.add_parser("check", parents=[config], help="say what is wrong with the settings")
    one.set_defaults(run=check)

    one = commands.add_parser("routes", parents=[config], help="show the routing table")
    one.set_defaults(run=routes)
    return parser
