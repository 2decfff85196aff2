"""The command line; the only module that prints.

What a command needs is imported when it runs, so that `--version` and a typo answer at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import __version__

if TYPE_CHECKING:
    from gateway.config.model import Route, Settings

MANAGING = ("keys", "users", "reflect")
"""Commands whose ValueErrors say what was wrong with what was typed."""
_COLUMNS = (
    "NAME",
    "HOSTS",
    "METHODS",
    "MATCH",
    "UPSTREAM -> TARGETS",
    "REWRITE",
    "TIMEOUT",
    "WEBSOCKET",
    "POLICIES",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 1 for bad settings, 2 for a bad command line."""
    options = _parser().parse_args(arguments)
    from gateway.config.problems import ConfigError
    from gateway.errors import StoreDown

    try:
        return int(options.run(options))
    except ConfigError as error:
        print(error, file=sys.stdout if options.command == "check" else sys.stderr)
    except StoreDown:
        print("the database cannot be reached", file=sys.stderr)
    except ValueError as error:
        if options.command not in MANAGING:
            raise
        print(error, file=sys.stderr)
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
    _print_table([_COLUMNS, *(_row(settings, route) for route in settings.routes)])
    return 0


def reflect(options: argparse.Namespace) -> int:
    """Writes models of the tables behind `apis.pages`, or says whether they are stale."""
    settings = _settings(options)
    from gateway.commands import reflect as models

    print((models.check if options.check else models.write)(settings, options.output))
    return 0


def users_add(options: argparse.Namespace) -> int:
    """Lets a user sign in; the password comes from the terminal or from standard input."""
    settings = _settings(options)
    from gateway.commands import users

    password = _password()
    print(f"added: {users.add(settings, options.name, password, options.scope, options.tier)}")
    return 0


def users_list(options: argparse.Namespace) -> int:
    """Prints all users."""
    settings = _settings(options)
    from gateway.commands import users

    _print_table(users.listed(settings))
    return 0


def users_disable(options: argparse.Namespace) -> int:
    """Lets a user sign in no more."""
    settings = _settings(options)
    from gateway.commands import users

    print(f"disabled: {users.disable(settings, options.name)}")
    return 0


def keys_create(options: argparse.Namespace) -> int:
    """Makes an API key and shows it, this once: alone on the last line."""
    settings = _settings(options)
    from gateway.commands import keys

    made = keys.create(settings, options.owner, options.tier, options.scope, options.expires)
    print("id: {}\n{}".format(*made))
    return 0


def keys_list(options: argparse.Namespace) -> int:
    """Prints all API keys, without the keys themselves, which nobody knows."""
    settings = _settings(options)
    from gateway.commands import keys

    _print_table(keys.listed(settings))
    return 0


def keys_rotate(options: argparse.Namespace) -> int:
    """Puts a new API key in the place of one, and shows it as `create` does."""
    settings = _settings(options)
    from gateway.commands import keys

    made = keys.rotate(settings, options.id, options.grace, options.expires)
    print("id: {}\n{}".format(*made))
    return 0


def keys_revoke(options: argparse.Namespace) -> int:
    """Lets an API key open nothing any more."""
    settings = _settings(options)
    from gateway.commands import keys

    print(f"revoked: {keys.revoke(settings, options.id)}")
    return 0


def _password() -> str:
    """Raises ValueError."""
    if not sys.stdin.isatty():
        try:
            return sys.stdin.readline().rstrip("\r\n")
        except UnicodeDecodeError:
            raise ValueError("the password is no text in UTF-8") from None
    from getpass import getpass

    password = getpass("Password: ")
    if getpass("Once more: ") != password:
        raise ValueError("these are two passwords")
    return password


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


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
        ", ".join(_policies(settings, route)) or "-",
    )


def _policies(settings: Settings, route: Route) -> Iterator[str]:
    """In the order in which a request meets them, the limit by address before who asks."""
    limit = route.rate_limit
    of = "tier" if limit is None or limit.rate is None else str(limit.rate)
    if (route.cors or settings.cors).origins:
        yield "cors"
    if route.access is not None:
        yield "access"
    if route.deprecated is not None:
        yield "deprecated"
    if limit is not None and limit.by == "ip":
        yield f"limit {of}"
    if route.auth != "none":
        yield " ".join(("auth", route.auth, *route.scopes))
    if limit is not None and limit.by != "ip":
        yield f"limit {of}" if limit.by == "tier" else f"limit {of} by key"
    if route.validation is not None:
        yield "validate"
    if route.compress is not None:
        yield "compress"
    if route.cache is not None:
        yield "cache"


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

    one = commands.add_parser(
        "reflect", parents=[config], help="write models of the tables behind apis.pages"
    )
    one.add_argument(
        "--output", type=Path, default=Path("models.py"), metavar="FILE", help="(models.py)"
    )
    one.add_argument("--check", action="store_true", help="fail if the file is stale instead")
    one.set_defaults(run=reflect)

    _add_keys(commands.add_parser("keys", help="API keys"), config)
    _add_users(commands.add_parser("users", help="users who sign in at /auth/login"), config)
    return parser


def _add_keys(keys: argparse.ArgumentParser, config: argparse.ArgumentParser) -> None:
    commands = keys.add_subparsers(metavar="COMMAND", required=True)
    one = commands.add_parser("create", parents=[config], help="make one, and show it this once")
    one.add_argument("--owner", required=True, metavar="NAME", help="whom it is for")
    one.add_argument("--tier", required=True, metavar="TIER", help="tier of rate limits")
    one.add_argument("--scope", action="append", default=[], metavar="S", help="scope; repeatable")
    one.add_argument("--expires", metavar="TIME", help="after 90d, 12h, ...; never if left out")
    one.set_defaults(run=keys_create)

    one = commands.add_parser("list", parents=[config], help="show all of them, without the keys")
    one.set_defaults(run=keys_list)

    one = commands.add_parser("rotate", parents=[config], help="put a new key in one's place")
    one.add_argument("id", metavar="ID", help="its id")
    one.add_argument("--grace", default="1h", metavar="TIME", help="that the old key lives on (1h)")
    one.add_argument(
        "--expires", metavar="TIME", help="after 90d, 12h, ...; with the old one if left out"
    )
    one.set_defaults(run=keys_rotate)

    one = commands.add_parser("revoke", parents=[config], help="let one open nothing any more")
    one.add_argument("id", metavar="ID", help="its id")
    one.set_defaults(run=keys_revoke)


def _add_users(users: argparse.ArgumentParser, config: argparse.ArgumentParser) -> None:
    commands = users.add_subparsers(metavar="COMMAND", required=True)
    one = commands.add_parser("add", parents=[config], help="let somebody sign in")
    one.add_argument("name", metavar="NAME", help="name to sign in with")
    one.add_argument("--scope", action="append", default=[], metavar="S", help="scope; repeatable")
    one.add_argument("--tier", default="free", metavar="TIER", help="tier of rate limits (free)")
    one.set_defaults(run=users_add)

    one = commands.add_parser("list", parents=[config], help="show all users")
    one.set_defaults(run=users_list)

    one = commands.add_parser("disable", parents=[config], help="let somebody in no more")
    one.add_argument("name", metavar="NAME", help="name of the user")
    one.set_defaults(run=users_disable)
