"""What docs/API_USAGE.md says is so: its programs run, its errors are all there are."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import shutil
import sys
from pathlib import Path

import pytest

import gateway
from gateway.apidocs import problems
from gateway.apidocs.models import Error
from gateway.config import Settings
from tests.e2e.usage import NAME, PASSWORD, PRICES, ran, used
from tests.test_docs import agrees, blocks, calls, text_of

PAGE = "docs/API_USAGE.md"
HEARD = "".join(f"{symbol} {price}\n" for symbol, price in PRICES.items())


def everything() -> None:
    """Import every module, for each may have errors of its own."""
    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def test_every_error_is_told_of_and_no_other() -> None:
    everything()
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \|", text_of(PAGE), re.MULTILINE)
    package = gateway.__name__ + "."
    there = {
        (str(kind.status), kind.code)
        for kind in problems.every()
        if kind.__module__.startswith(package)
    }
    assert set(rows) == there
    assert len(rows) == len(set(rows))


def test_example_of_an_error_is_one() -> None:
    (text,) = blocks(PAGE, "json")
    Error.model_validate_json(text)
    assert set(json.loads(text)) == set(Error.model_fields)


def test_limits_are_the_defaults() -> None:
    settings = Settings()
    tiers = {name: str(rate or "unlimited") for name, rate in settings.tiers.items()}
    assert tiers == {
        "anonymous": "10/hour",
        "free": "100/hour",
        "pro": "1000/hour",
        "enterprise": "unlimited",
    }
    limits = settings.limits
    assert (limits.request_line, limits.header_field, limits.header_bytes) == (8192, 8192, 32768)
    assert (limits.head_timeout, limits.keepalive_timeout) == (10, 75)
    assert settings.max_body_size == 10 << 20


async def test_commands_give_what_they_say(tmp_path: Path) -> None:
    wrong = []
    async with used(tmp_path) as (program, key):
        values = {"KEY": key, "NAME": NAME, "PASSWORD": PASSWORD}
        values["GATEWAY"] = f"http://127.0.0.1:{program.port}"
        first, *rest = blocks(PAGE, "sh")
        assert set(re.findall(r"([A-Z]+)=", first)) == set(values)
        for block in rest:
            whole = list(calls(block))
            said = "\n".join(line for _, lines in whole for line in lines)
            text = "\n".join(f"{command}\necho" for command, _ in whole)
            code, out, err = await ran("sh", "-c", text, **values)
            printed = "\n".join(line for line in out.splitlines() if line.strip())
            if code or err or not agrees(said, printed):
                wrong.append((block, code, out, err))
    assert not wrong


async def test_program_in_python_asks_and_says_what_went_wrong(tmp_path: Path) -> None:
    (code,) = blocks(PAGE, "python")
    async with used(tmp_path) as (program, key):
        url = f"http://127.0.0.1:{program.port}"
        assert await ran(sys.executable, "-c", code, GATEWAY=url, KEY=key) == (0, HEARD, "")
        _, out, _ = await ran(sys.executable, "-c", code, GATEWAY=url, KEY="no")
    assert re.fullmatch(r"401 unauthorized [0-9a-f]{32}\n", out)


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node")
async def test_program_in_javascript_asks_and_says_what_went_wrong(tmp_path: Path) -> None:
    (code,) = blocks(PAGE, "js")
    node = ("node", "--input-type=module", "--eval", code)
    async with used(tmp_path) as (program, key):
        url = f"http://127.0.0.1:{program.port}"
        assert await ran(*node, GATEWAY=url, KEY=key) == (0, HEARD, "")
        status, _, err = await ran(*node, GATEWAY=url, KEY="no")
    assert status == 1
    assert re.search(r"unauthorized: .* \(request [0-9a-f]{32}\)", err)
