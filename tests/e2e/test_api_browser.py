"""The pages of the API's document in a Chromium without a screen: drawn from this host alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.commands import keys
from gateway.config import Settings
from tests.e2e.browser import CHROMIUM, Page, browser
from tests.e2e.life import Program, answering, running

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")

TOKEN = "token-of-the-gateway"
ADMIN = ("admin",)

# React hears of a text only where the browser's own way of setting it is followed by an event.
FILL = """
  ((input, text) => {
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(input, text);
    input.dispatchEvent(new Event("input", { bubbles: true }));
  })
"""
FORM = """
  [...document.querySelectorAll(".auth-container")]
    .find((each) => each.querySelector("h4 code").textContent === "NAME")
"""
STATUS = """
  (document.querySelector("#OPERATION .live-responses-table .response .response-col_status")
    ?? {}).textContent
"""


@asynccontextmanager
async def shown(folder: Path) -> AsyncIterator[tuple[Program, str, Page]]:
    """A gateway with keys and a token, an administrator's key, and a browser."""
    stores = {"sqlite": str(folder / "gateway.db")}
    made = Settings.model_validate({"stores": stores})
    _, key = await asyncio.to_thread(keys.create, made, "root", "pro", ADMIN, None)
    async with answering() as upstream:
        route = {"name": "hello", "path": "/hello", "target_url": upstream.url, "auth": "token"}
        settings = {"stores": stores, "auth": {"token": TOKEN}, "routes": [route]}
        async with (
            running(folder, **settings) as program,
            browser(folder / "chromium") as page,
        ):
            yield program, key, page


async def drawn(page: Page, program: Program, path: str, condition: str) -> None:
    await page.look("light", 1280, 1000)
    await page.open(f"http://127.0.0.1:{program.port}{path}")
    await page.until(condition)
    own = f"http://127.0.0.1:{program.port}/"
    for url in page.requests:
        assert url.startswith((own, "data:", f"blob:{own}")), url
    assert page.complaints == []


async def click(page: Page, selector: str) -> None:
    await page.until(f"!!document.querySelector({selector!r})")
    await page.value(f"document.querySelector({selector!r}).click()")


async def authorize(page: Page, **secrets: str) -> None:
    """Through the button and its dialog, as people do."""
    await click(page, ".btn.authorize")
    for scheme, secret in secrets.items():
        form = FORM.replace("NAME", scheme.replace("_", "-")).strip()
        await page.until(f"!!({form})?.querySelector('input')")
        await page.value(f"{FILL}(({form}).querySelector('input'), {secret!r})")
        await page.value(f"({form}).querySelector('button.authorize').click()")
        await page.until(f"!({form}).querySelector('input')")
    await click(page, ".btn-done")


async def tried(page: Page, operation: str) -> str:
    """The status that "Try it out" and "Execute" bring."""
    if not await page.value(f"!!document.querySelector('#{operation} .execute')"):
        await click(page, f"#{operation} .opblock-summary-control")
        await click(page, f"#{operation} .try-out__btn")
    await click(page, f"#{operation} .execute")
    status = STATUS.replace("OPERATION", operation).strip()
    await page.until(f"!!({status})")
    return str(await page.value(status))


async def test_swagger_ui_asks_with_the_key_and_the_token_that_it_was_given(
    tmp_path: Path,
) -> None:
    async with shown(tmp_path) as (program, key, page):
        ready = "document.querySelectorAll('.opblock').length > 10"
        await drawn(page, program, "/docs", ready)
        assert await tried(page, "operations-keys-keys") == "401"
        assert await tried(page, "operations-services-hello_get") == "401"
        await authorize(page, X_API_Key=key, bearer=TOKEN)
        for operation in ("operations-keys-keys", "operations-services-hello_get"):
            await click(page, f"#{operation} .btn-clear")
            assert await tried(page, operation) == "200"
        assert all(f"127.0.0.1:{program.port}" in url or "data:" in url for url in page.requests)


async def test_swagger_ui_keeps_no_secret(tmp_path: Path) -> None:
    async with shown(tmp_path) as (program, key, page):
        ready = "document.querySelectorAll('.opblock').length > 10"
        await drawn(page, program, "/api/docs", ready)
        await authorize(page, X_API_Key=key)
        stored = "JSON.stringify({...localStorage, ...sessionStorage}) + document.cookie"
        assert key not in await page.value(stored)


async def test_redoc_draws_every_operation(tmp_path: Path) -> None:
    async with shown(tmp_path) as (program, _, page):
        document = await program.json("/api/openapi.json")
        summaries = [o["summary"] for item in document["paths"].values() for o in item.values()]
        titles = "[...document.querySelectorAll('h2')].map((each) => each.textContent.trim())"
        await drawn(page, program, "/api/redoc", f"({titles}).length >= {len(summaries)}")
        assert set(summaries) <= set(await page.value(titles))


async def test_pages_call_no_other_host_even_when_told_to(tmp_path: Path) -> None:
    """The policy is the browser's to enforce, whatever the page does."""
    async with shown(tmp_path) as (program, _, page):
        for path in ("/api/docs", "/api/redoc"):
            await drawn(page, program, path, "document.querySelectorAll('h2, h3').length > 3")
            refused = "fetch('http://localhost:1/').then(() => 'sent', (e) => e.name)"
            assert await page.value(refused) == "TypeError"
            assert any("Content Security Policy" in text for text in page.complaints)
            page.complaints.clear()
            page.requests.clear()
