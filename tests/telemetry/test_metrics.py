"""The table of metrics and its labels."""

from __future__ import annotations

import re

import pytest

from gateway.telemetry import memory
from gateway.telemetry.instruments import Registry
from gateway.telemetry.metrics import SECONDS, Metrics, method_label


@pytest.fixture
def metrics() -> Metrics:
    regions = memory.allocate(1)
    return Metrics(Registry(regions[0], regions))


@pytest.mark.parametrize("method", [b"GET", "GET"])
def test_standard_method_is_its_own_label(method):
    assert method_label(method) == "GET"


@pytest.mark.parametrize("method", [b"BREW", b"get", b"", b'X"} 1', "PROPFIND"])
def test_other_method_never_becomes_a_label(method):
    assert method_label(method) == "OTHER"


def test_names_and_help_are_in_good_form(metrics):
    for metric in metrics.registry.metrics.values():
        assert re.fullmatch(r"gateway_[a-z_]+", metric.name)
        assert metric.documentation.endswith(".") or metric.name == "gateway_build_info"
        assert metric.name.endswith("_total") == (metric.kind == "counter")


def test_bounds_of_durations_ascend_and_hold_the_objective():
    assert list(SECONDS) == sorted(set(SECONDS))
    assert {0.001, 0.1, 30.0} <= set(SECONDS)
