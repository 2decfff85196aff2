from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import __version__, cli, workers
from gateway.config import ConfigError, Settings

ROOT = Path(__file__).parents[1]

FILE = """
upstreams:
  orders:
    targets: [{url: "http://127.0.0.1:8001", weight: 2}, "http://127.0.0.1:8002"]
routes:
  - {prefix: /api/orders, upstream: orders, strip_prefix: true, rewrite: /v2, timeout: 500ms}
  - {path: /up, target_url: "unix:///run/up.sock", methods: [GET, PUT], hosts: ["*.example.com"]}
  - {prefix: /, target_url: "http://127.0.0.1:8003", strip_prefix: true}
"""

POLICIES = """
cors: {origins: ["https://a.example"]}
routes:
  - {prefix: /a, target_url: "http://a", auth: any, scopes: [a, b], rate_limit: 60/minute,
     access: {deny: [10.0.0.0/8]}, deprecated: {since: 2026-01-01, sunset: 2099-01-01},
     compress: true, cache: true}
  - {prefix: /b, target_url: "http://a", auth: api_key, rate_limit: {by: tier}}
  - {prefix: /c, target_url: "http://a", auth: api_key, rate_limit: {rate: 5/hour, by: key}}
"""

TABLE = (
    "NAME        HOSTS          METHODS   MATCH            UPSTREAM -> TARGETS"
    "                                                REWRITE  TIMEOUT  WEBSOCKET  POLICIES\n"
    "api-orders  *              *         /api/orders/*    "
    "orders -> http://127.0.0.1:8001 (weight 2), http://127.0.0.1:8002"
    "  /v2      0.5 s    no         -\n"
    "up          *.example.com  GET, PUT  = /up            unix:///run/up.sock"
    "                                                -        30 s     no         -\n"
    "root        *              *         /*               http://127.0.0.1:8003"
    "                                              /        30 s     no         -\n"
    "service1    *              *         /api/service1/*  http://127.0.0.1:8004"
    "                                              /api     30 s     yes        -\n"
)


def gateway(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`python -m gateway` in a folder, with only these variables for its settings."""
    kept = {k: v for k, v in os.environ.items() if k.startswith(("COV", "PATH", "PYTHON"))}
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(ROOT)} | env,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_version_is_printed(tmp_path: Path) -> None:
    done = gateway(tmp_path, "--version")
    assert (done.returncode, done.stdout) == (0, f"gateway {__version__}\n")


@pytest.mark.parametrize("arguments", [(), ("fly",), ("serve", "--speed", "9")])
def test_bad_command_line_is_exit_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = gateway(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: gateway" in done.stderr


def test_check_of_good_settings_is_exit_0(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(FILE)
    done = gateway(tmp_path, "check", "--config", "other.yaml")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok: 3 routes, 1 upstream\n", "")


def test_check_of_bad_settings_prints_a_line_for_each_problem(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("prot: 80\nroutes: [{prefix: /a, upstream: b}]")
    done = gateway(tmp_path, "check", GATEWAY_TIMEOUT="soon")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        "environment: GATEWAY_TIMEOUT: expected a length of time: seconds, or 250ms, 10s, 2m, 1h,"
        " 90d",
        "gateway.yaml: prot: unknown key, did you mean port?",
        "gateway.yaml: routes[0].upstream: there is no upstream 'b'",
    ]


def test_routes_are_an_aligned_table(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(FILE)
    done = gateway(tmp_path, "routes", SERVICE1_URL="http://127.0.0.1:8004")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == TABLE


def test_routes_name_their_policies_in_the_order_of_a_request(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(POLICIES)
    done = gateway(tmp_path, "routes")
    assert [line.rpartition("  ")[2] for line in done.stdout.splitlines()] == [
        "POLICIES",
        "cors, access, deprecated, limit 60/minute, auth any a b, compress, cache",
        "cors, auth api_key, limit tier",
        "cors, auth api_key, limit 5/hour by key",
    ]


@pytest.mark.parametrize("command", ["serve", "routes"])
def test_bad_settings_are_exit_1_and_stay_off_standard_output(tmp_path: Path, command: str) -> None:
    done = gateway(tmp_path, command, PORT="x")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "environment: PORT: expected a whole number\n"


def test_bad_flag_is_told_as_other_settings_are(tmp_path: Path) -> None:
    done = gateway(tmp_path, "serve", "--port", "http", "--workers", "-1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "flags: --port: expected a whole number",
        "flags: --workers: has to be at least 0",
    ]


def test_serve_hands_over_the_settings_and_how_to_read_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    def run(settings: Settings, reload: workers.Reload) -> int:
        file.write_text("port: 1\ntimeout: 5")
        seen.extend([settings.port, settings.timeout, reload().timeout])
        file.write_text("timeout: soon")
        with pytest.raises(ConfigError, match=r"timeout: expected"):
            reload()
        return 3

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workers, "run", run)
    file = tmp_path / "gateway.yaml"
    file.write_text("port: 1")
    assert cli.main(["serve", "--port", "8099"]) == 3
    assert seen == [8099, 30.0, 5.0]
