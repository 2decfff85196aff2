"""Counters, gauges and histograms, within one process and over several regions."""

from __future__ import annotations

import threading

import pytest

from gateway.telemetry import memory
from gateway.telemetry.instruments import Counter, Gauge, Histogram, Registry


@pytest.fixture
def regions() -> list[memory.Region]:
    return memory.allocate(1)  # one for the worker and one for the parent


@pytest.fixture
def registry(regions) -> Registry:
    return Registry(regions[0], regions)


def test_counter_adds(registry):
    cell = Counter(registry, "a_total", "").child()
    cell.inc()
    cell.inc(2.5)

    assert registry.merged()["a_total"] == {(): [3.5]}


def test_child_of_the_same_labels_is_the_same(registry):
    counter = Counter(registry, "a_total", "", "x")

    assert counter.child("1") is counter.child("1")


def test_number_and_text_of_a_label_share_a_cell(registry):
    counter = Counter(registry, "a_total", "", "status")
    counter.child(200).inc()
    counter.child("200").inc()

    assert registry.merged()["a_total"] == {("200",): [2.0]}


def test_wrong_number_of_labels_is_refused(registry):
    with pytest.raises(ValueError, match="a_total takes the labels x, y"):
        Counter(registry, "a_total", "", "x", "y").child("1")


def test_second_metric_of_a_name_is_refused(registry):
    Counter(registry, "a_total", "")

    with pytest.raises(ValueError, match="a_total exists"):
        Gauge(registry, "a_total", "")


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.05, 0), (0.1, 0), (0.1001, 1), (1.0, 1), (7.0, 2)]
)
def test_observation_falls_into_the_bucket_that_bounds_it(registry, seconds, bucket):
    Histogram(registry, "h", "", buckets=(0.1, 1.0)).child().observe(seconds)

    expected = [0.0, 0.0, 0.0, seconds]
    expected[bucket] = 1.0
    assert registry.merged()["h"] == {(): expected}


def test_gauge_goes_up_and_down(registry):
    gauge = Gauge(registry, "g", "").child()
    gauge.inc(3)
    gauge.dec()

    assert registry.merged()["g"] == {(): [2.0]}


def test_summed_gauge_begins_with_nothing_open(registry):
    Gauge(registry, "g", "").child()

    assert registry.merged()["g"] == {(): [0.0]}


@pytest.mark.parametrize(("merge", "value"), [("sum", 3.0), ("max", 2.0), ("min", 1.0)])
def test_gauges_of_workers_merge_as_declared(regions, merge, value):
    registries = [Registry(region, regions) for region in regions]
    for number, registry in enumerate(registries, start=1):
        Gauge(registry, "g", "", merge=merge).child().set(number)

    assert registries[0].merged()["g"] == {(): [value]}


def test_worker_that_has_not_set_a_gauge_does_not_count_for_the_least(regions):
    registries = [Registry(region, regions) for region in regions]
    gauges = [Gauge(registry, "g", "", merge="min").child() for registry in registries]
    gauges[0].set(1)

    assert registries[1].merged()["g"] == {(): [1.0]}


def test_forgotten_gauge_is_left_out(registry):
    gauge = Gauge(registry, "g", "").child()
    gauge.set(1)
    gauge.forget()

    assert registry.merged()["g"] == {}


def test_counters_and_histograms_of_workers_add_up(regions):
    registries = [Registry(region, regions) for region in regions]
    for registry in registries:
        Counter(registry, "a_total", "").child().inc()
        Histogram(registry, "h", "", buckets=(1.0,)).child().observe(0.5)

    merged = registries[0].merged()

    assert merged["a_total"] == {(): [2.0]}
    assert merged["h"] == {(): [2.0, 0.0, 1.0]}


def test_successor_in_a_slot_continues_its_counters(regions):
    Counter(Registry(regions[0], regions), "a_total", "", "x").child("1").inc(5)

    successor = Registry(regions[0], regions)
    Counter(successor, "a_total", "", "x").child("1").inc()

    assert successor.merged()["a_total"] == {("1",): [6.0]}


def test_successor_in_a_slot_begins_its_gauges_anew(regions):
    Gauge(Registry(regions[0], regions), "g", "").child().inc(5)

    successor = Registry(regions[0], regions)
    gauge = Gauge(successor, "g", "")
    assert successor.merged()["g"] == {}
    gauge.child().inc()

    assert successor.merged()["g"] == {(): [1.0]}


def test_full_region_drops_new_children_counts_them_and_says_so_once(regions, monkeypatch):
    said = []
    monkeypatch.setattr(memory, "CELLS", 11)
    registry = Registry(regions[0], regions, lambda: said.append("full"))
    counter = Counter(registry, "a_total", "", "x")
    for label in "abcd":
        counter.child(label).inc()

    merged = registry.merged()

    assert merged["a_total"] == {("a",): [1.0], ("b",): [1.0]}
    assert merged["gateway_metrics_dropped_total"] == {(): [2.0]}
    assert said == ["full"]


def test_entries_of_metrics_unknown_here_are_left_out(regions):
    Counter(Registry(regions[1], regions), "other_total", "").child().inc()

    assert "other_total" not in Registry(regions[0], regions).merged()


def test_scrapes_in_several_threads_count_nothing_twice(regions):
    writer = Registry(regions[0], regions)
    reader = Registry(regions[1], regions)
    counter = Counter(writer, "a_total", "", "x")
    Counter(reader, "a_total", "", "x")
    for number in range(2000):
        counter.child(number).inc()
    start = threading.Barrier(4)

    def scrape() -> None:
        start.wait()
        reader.merged()

    threads = [threading.Thread(target=scrape) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(map(tuple, reader.merged()["a_total"].values())) == {(1.0,)}
