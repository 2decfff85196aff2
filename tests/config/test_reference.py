from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gateway.config import load
from gateway.config.reference import BEGIN, END, rendered, rewritten

ROOT = Path(__file__).parents[2]


def test_page_of_the_settings_is_up_to_date() -> None:
    page = (ROOT / "docs" / "CONFIGURATION.md").read_text("utf-8")
    assert rewritten(page) == page


def test_module_writes_the_tables_into_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", "utf-8")
    command = [sys.executable, "-m", "gateway.config.reference", str(page)]
    subprocess.run(command, cwd=ROOT, check=True)
    assert page.read_text("utf-8") == f"before\n{BEGIN}\n\n{rendered()}\n{END}\nafter\n"


def test_every_key_has_a_meaning() -> None:
    assert "| None |" not in rendered()


def test_example_of_the_page_is_valid(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "CONFIGURATION.md").read_text("utf-8")
    example = page.partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "gateway.yaml").write_text(example, "utf-8")
    settings = load(None, {"SECRET_KEY": "k" * 32}, {}, tmp_path)
    assert [route.name for route in settings.routes] == ["api-orders", "live"]


def test_example_of_dotenv_is_valid(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes((ROOT / ".env.example").read_bytes())
    (route,) = load(None, {}, {}, tmp_path).routes
    assert route.name == "service1"
