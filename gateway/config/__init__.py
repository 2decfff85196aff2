"""The settings: what there is (`model`), where it is read from (`loader`), and its reference."""

from gateway.config.loader import load
from gateway.config.model import Settings
from gateway.config.problems import ConfigError, Problem

__all__ = ["ConfigError", "Problem", "Settings", "load"]
