"""The demo's page in a Chromium without a screen: it subscribes, shows updates, and comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from gateway import samples
from tests.e2e.browser import CHROMIUM, Page, browser
from tests.e2e.live import Live, Wire, live, wire

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")

PRICE = "document.querySelector('[data-symbol=AAPL] .price').firstChild.textContent"
STATE = "document.getElementById('state').textContent"

# The least contrast of a text and what it stands on (WCAG 2.2: contrast ratio).
CONTRAST = """
  [...document.querySelectorAll(
    "h1, #state, form button, .symbol, .price, small, .more, #counts, summary"
  )].map((element) => {
    const numbers = (color) => color.match(/[0-9.]+/g).map(Number);
    const light = (color) => numbers(color).slice(0, 3).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
      .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const under = (one) => getComputedStyle(one).backgroundColor;
    let behind = element;
    while (numbers(under(behind))[3] === 0) behind = behind.parentElement ?? document.body;
    const both = [light(getComputedStyle(element).color), light(under(behind))];
    return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
  }).reduce((least, one) => Math.min(least, one))
"""


@asynccontextmanager
async def elsewhere() -> AsyncIterator[str]:
    """The page's URL, of another origin than the gateway's."""
    runner = web.AppRunner(samples.page(), shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/live"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def shown(folder: Path, query: str) -> AsyncIterator[tuple[Live, Wire, Page]]:
    """A gateway, the way to it, and the page that asks it for AAPL."""
    async with elsewhere() as url:
        origin = url.removesuffix("/live")
        async with (
            live(folder, cors={"origins": [origin]}) as site,
            wire(site.program.port) as line,
            browser(folder / "chromium") as page,
        ):
            await page.open(f"{url}?gateway=127.0.0.1:{line.port}&symbols=AAPL&{query}")
            yield site, line, page


@pytest.mark.parametrize("way", ["websocket", "events"])
async def test_page_of_another_origin_shows_updates(tmp_path: Path, way: str) -> None:
    async with shown(tmp_path, f"via={way}") as (site, _, page):
        opened = "websocket_opened" if way == "websocket" else "stream_opened"
        await site.program.event(opened)
        await page.until(f"{STATE} === 'connected'")
        await site.publish("AAPL", 231.07)
        await page.until(f"{PRICE} === '231.07'")
        await site.publish("AAPL", 229.5)
        await page.until(f"{PRICE} === '229.50'")
        change = await page.value("document.querySelector('[data-symbol=AAPL] small').textContent")
        assert change == "▼ 1.57"
        assert await page.value("document.getElementById('updates').textContent") == "2"
        assert page.complaints == []


@pytest.mark.parametrize("way", ["websocket", "events"])
async def test_page_asks_for_more_and_for_less(tmp_path: Path, way: str) -> None:
    async with shown(tmp_path, f"via={way}") as (site, _, page):
        await page.until(f"{STATE} === 'connected'")
        await page.value(
            "document.getElementById('name').value = 'msft';"
            "document.querySelector('form button').click()"
        )
        cards = "document.querySelectorAll('#cards li').length"
        assert await page.value(cards) == 2
        said = "document.getElementById('said').textContent"
        if way == "websocket":
            await page.until(f"""{said}.includes('"subscribed","symbols":["MSFT"]')""")
        else:
            await page.until(f"{STATE} === 'connected' && {said}.split('welcome').length === 3")
        await site.publish("MSFT", 428)
        await page.until("document.querySelector('[data-symbol=MSFT] .price').textContent != '–'")
        await page.value("document.querySelector('[aria-label=\"Unsubscribe AAPL\"]').click()")
        assert await page.value(cards) == 1
        await site.publish("AAPL", 1)
        await site.publish("MSFT", 429)
        await page.until("document.getElementById('updates').textContent === '2'")


@pytest.mark.parametrize("way", ["websocket", "events"])
async def test_page_comes_back_and_catches_up(tmp_path: Path, way: str) -> None:
    async with shown(tmp_path, f"via={way}") as (site, line, page):
        await page.until(f"{STATE} === 'connected'")
        await site.publish("AAPL", 1)
        await page.until(f"{PRICE} === '1.00'")
        line.cut()
        await page.until(f"{STATE} !== 'connected'")
        await site.publish("AAPL", 2)
        line.mend()
        await page.until(f"{PRICE} === '2.00'")
        await site.publish("AAPL", 3)
        await page.until(f"{PRICE} === '3.00'")
        assert await page.value("document.getElementById('updates').textContent") == "3"
        assert await page.value("document.getElementById('returns').textContent") == "1"


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_page_fits_a_phone_in_both_themes(tmp_path: Path, theme: str) -> None:
    async with shown(tmp_path, "via=websocket") as (site, _, page):
        await page.look(theme, 360, 740)
        await page.until(f"{STATE} === 'connected'")
        await site.publish("AAPL", 231.07)
        await page.until(f"{PRICE} === '231.07'")
        assert await page.value("document.documentElement.scrollWidth") == 360
        lowest = await page.value(CONTRAST)
        assert lowest >= 4.5  # WCAG 2.2, 1.4.3
