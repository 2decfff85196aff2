from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.config import ConfigError, Settings, load


class Folder:
    """A working directory with the files that a test writes into it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(
        self,
        yaml: str | bytes | None = None,
        *,
        env: Mapping[str, str] | None = None,
        dotenv: str | None = None,
        flags: Mapping[str, object] | None = None,
        config: Path | None = None,
    ) -> Settings:
        if yaml is not None:
            content = yaml if isinstance(yaml, bytes) else yaml.encode()
            (self.path / "gateway.yaml").write_bytes(content)
        if dotenv is not None:
            (self.path / ".env").write_text(dotenv, "utf-8")
        return load(config, env or {}, flags or {}, self.path)

    def problems(self, *args: Any, **kwargs: Any) -> list[str]:
        with pytest.raises(ConfigError) as raised:
            self.load(*args, **kwargs)
        assert str(raised.value) == "\n".join(map(str, raised.value.problems))
        return str(raised.value).split("\n")
