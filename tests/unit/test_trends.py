"""Trends: how often a quiet series raises a false alarm, how soon a planted change is found, and what survives a restart."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from tori import report
from tori.cli.lifecycle import print_status
from tori.events.system import ErrorOccurred, PerformanceAlert, TaskCompleted, TaskFailed
from tori.local import LocalSystem
from tori.metrics.collect import EventMeter, module_samples
from tori.metrics.sample import Sample
from tori.modules.host import ModuleHost
from tori.orchestrator.ledger import Ledger
from tori.trends.book import MAX_SERIES, TrendBook, TrendsSampled, sentence
from tori.trends.detector import BLOCK, LEARNING, WINDOW, Change, Detector, Effect
from tori.trends.observe import Observer

ANY = Effect(least_ratio=1.0, least_difference=-1.0)
"""Every change matters: what is tested is the statistics."""
EVERY_S = 10

NOISE: dict[str, Callable[[random.Random], float]] = {
    "normal": lambda rng: rng.gauss(10.0, 1.0),
    "skewed": lambda rng: rng.expovariate(1.0),
    "heavy tails": lambda rng: rng.paretovariate(1.0),
    "constant": lambda rng: 0.0,
    "rare ones": lambda rng: float(rng.random() < 0.1),
}


def feed(detector: Detector, values: Iterator[float] | list[float], limit: float, effect: Effect = ANY) -> list[Change]:
    """Return the alarms that values raise."""
    changes = [detector.take(v, EVERY_S * index, limit, effect) for index, v in enumerate(values)]
    return [change for change in changes if change is not None]


@pytest.mark.no_cover
@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
def test_stationary_noise_raises_no_more_alarms_than_stated(noise: Callable[[random.Random], float]) -> None:
    limit, alarms, values = 100.0, 0, 0
    for seed in range(12):
        rng, detector = random.Random(seed), Detector(f"series-{seed}")
        alarms += len(feed(detector, [noise(rng) for _ in range(2001)], limit))
        values += detector.count
    assert values == 12 * 2001 // BLOCK
    assert alarms / values <= 1 / limit, f"{alarms} alarms in {values} values"


@pytest.mark.no_cover
def test_without_the_rolling_window_the_mean_of_the_sum_is_the_number_of_values() -> None:
    """The martingale that the stated rate rests on: it would not hold if ranks or bets were biased."""
    bets, sums = 15, []
    for seed in range(1500):
        rng, detector = random.Random(seed), Detector(f"series-{seed}")
        feed(detector, [v for _ in range(LEARNING + bets) for v in [rng.random()] * BLOCK], 1e99)
        sums.append(detector.statistic)
    mean = sum(sums) / len(sums)
    assert 0.6 * bets < mean < 1.5 * bets, mean


@pytest.mark.parametrize(("factor", "direction"), [(2.0, "rose"), (0.5, "fell")])
def test_a_planted_shift_is_found_within_five_minutes_and_says_what_changed(factor: float, direction: str) -> None:
    for seed in range(10):
        rng, detector = random.Random(seed), Detector("latency")
        assert feed(detector, [rng.gauss(10.0, 1.0) for _ in range(600)], 1e5, Effect()) == []
        found = None
        for taken in range(1, 31):
            found = detector.take(rng.gauss(10.0 * factor, 1.0), EVERY_S * (600 + taken), 1e5, Effect())
            if found is not None:
                break
        assert found is not None, f"seed {seed}: not found in 30 samples"
        assert found.direction == direction
        assert found.before == pytest.approx(10.0, abs=0.5)
        assert found.after == pytest.approx(10.0 * factor, abs=1.0)
        assert found.before_samples == LEARNING * BLOCK
        assert found.after_samples <= taken + 6 * BLOCK
        assert abs(found.since_s - 6000) <= 6 * BLOCK * EVERY_S
        assert found.statistic >= 1e5


def test_changes_too_small_to_matter_are_silent_until_they_add_up() -> None:
    detector, rng = Detector("latency"), random.Random(0)
    found: list[float] = []
    for level in (10.0, 12.0, 14.4, 17.3):
        values = [rng.gauss(level, 0.2) for _ in range(600)]
        found += [change.after for change in feed(detector, values, 1e5, Effect())]
    assert len(found) == 1, found
    assert 15.0 < found[0] < 18.0, "half as much again as at the beginning"


def levels(detector: Detector, seed: int, *parts: tuple[float, int]) -> list[Change]:
    """Return the changes that are told of a series which stays at each level for so many samples."""
    rng = random.Random(seed)
    return feed(detector, [rng.gauss(level, level / 30) for level, count in parts for _ in range(count)], 1e5, Effect())


@pytest.mark.parametrize("gap", [42, 78, 117, 180, 189, 300, 363])
def test_after_a_change_too_small_to_tell_a_large_one_is_told_whenever_it_comes(gap: int) -> None:
    for seed in range(3):
        (change,) = levels(Detector("latency"), seed, (1.0, 600), (1.4, gap), (10.0, 160))
        assert (change.direction, change.before) == ("rose", pytest.approx(1.0, abs=0.02))
        assert change.after > 9.0
        assert change.statistic >= 1e5


def test_the_direction_is_that_from_the_baseline() -> None:
    first, second = levels(Detector("latency"), 0, (1.0, 600), (0.7, 42), (0.1, 300), (0.4, 600))
    assert (first.direction, first.before, first.after) == (
        "fell",
        pytest.approx(1.0, abs=0.02),
        pytest.approx(0.1, abs=0.01),
    )
    assert (second.direction, second.before, second.after) == (
        "rose",
        pytest.approx(0.1, abs=0.01),
        pytest.approx(0.4, abs=0.02),
    )


def test_a_spike_is_no_value_and_a_window_is_bounded() -> None:
    detector, rng = Detector("lag"), random.Random(1)
    values = [1e6 if index % 7 == 0 else rng.gauss(10.0, 1.0) for index in range(3000)]
    assert feed(detector, values, 1e5) == []
    assert len(detector.values) < WINDOW
    assert max(detector.values) < 1e3, "medians of three"
    assert len(msgspec.msgpack.encode(detector)) < 5000


def status_of(consumed: int, lag: int, *, busy_s: float = 0.0, waited_s: float = 0.0) -> dict[str, Any]:
    known = {"name": "alien", "state": "running", "restarts": 0, "events": 1, "late_wakes": 0, "summary": {}}
    return known | {"consumed": consumed, "lag": lag, "busy_s": busy_s, "waited_s": waited_s}


def test_what_is_watched_is_the_work_of_an_interval() -> None:
    observer = Observer()
    assert observer.take(module_samples(status_of(100, 3, busy_s=1.0, waited_s=5.0))) == {}, "nothing to compare with"
    assert observer.take(module_samples(status_of(100, 0, busy_s=1.0, waited_s=5.0))) == {}, "idle"
    assert observer.take(module_samples(status_of(300, 3, busy_s=1.5, waited_s=7.0))) == {
        'latency_seconds{module="alien"}': 0.01,
        'throughput_per_second{module="alien"}': 400.0,
        'lag_events{module="alien"}': 3.0,
        'errors{module="alien"}': 0.0,
    }
    stuck = observer.take(module_samples(status_of(300, 900, busy_s=1.5, waited_s=7.0)))
    assert stuck == {'lag_events{module="alien"}': 900.0}, "it takes nothing, so it has neither speed nor latency"
    assert observer.take(module_samples(status_of(10, 0))) == {}, "it began again: from here on"
    assert 'latency_seconds{module="alien"}' in observer.take(module_samples(status_of(20, 0, busy_s=0.1)))


def test_errors_and_runs_are_watched_as_rates() -> None:
    observer, meter = Observer(), EventMeter()
    observer.take(meter.samples(0))
    meter.take(TaskCompleted("scan", "r-1", "scan", 1, 2.0), 0)
    meter.take(TaskCompleted("scan", "r-2", "scan", 1, 4.0), 0)
    meter.take(TaskFailed("scan", "r-3", "scan", 1, 1.0, "no"), 0)
    meter.take(
        TaskCompleted("performance_metrics", "r-4", "performance_metrics", 1, 0.1), 0
    )  # what collects is not watched
    meter.take(ErrorOccurred("Died", "killed", "alien"), 0)
    lag = Sample("tori_module_lag", 0.0, ("alien",))
    consumed = Sample("tori_module_consumed", 0.0, ("alien",))
    assert observer.take([*meter.samples(0), lag, consumed]) == {
        'duration_seconds{task="scan"}': 3.0,
        'failed_share{task="scan"}': pytest.approx(1 / 3),
        'errors{module="alien"}': 1.0,
    }
    assert observer.take([*meter.samples(0), lag, consumed]) == {}


SERIES = 'latency_seconds{module="alien"}'


def sampled(index: int, value: float, name: str = SERIES) -> TrendsSampled:
    return TrendsSampled(EVERY_S * index, {name: value}, 1e4, 1.5)


def shifted(count: int = 225, at: int = 200) -> list[TrendsSampled]:
    rng = random.Random(3)
    return [sampled(i, rng.gauss(1.0 if i < at else 3.0, 0.05)) for i in range(count)]


def tell(host: ModuleHost, record: TrendsSampled) -> None:
    """What the orchestrator does with the samples of an interval."""
    host.emit([record], [])
    assert isinstance(host.module, Ledger)
    host.emit([], [(alert, alert.metric) for alert in host.module.trends.pending])


def test_alerts_are_events_and_baselines_outlive_a_crash(tmp_path: Path) -> None:
    records = shifted()
    with LocalSystem(tmp_path, modules=("orchestrator",)) as mind:
        host = mind.hosts["orchestrator"]
        for record in records[:190]:
            tell(host, record)
    for record in records[190:]:
        with LocalSystem(tmp_path, modules=("orchestrator",)) as mind:  # a restart after each interval
            host = mind.hosts["orchestrator"]
            tell(host, record)
            state = host.module.snapshot()
    with LocalSystem(tmp_path, modules=("orchestrator",)) as mind:
        ledger = mind.hosts["orchestrator"].module
        assert isinstance(ledger, Ledger)
        assert ledger.snapshot() == state, "a replay gives the same book"
        (row,) = ledger.query("trends", {})["alerts"]
        (problem,) = ledger.query("problems", {})
        assert (row["metric"], row["trend"], row["threshold"]) == (SERIES, "rose", None)
        assert row["before"] == pytest.approx(1.0, abs=0.05)
        assert row["value"] == pytest.approx(3.0, abs=0.1)
        assert (problem["subject"], problem["id"]) == (SERIES, row["id"])
        assert problem["message"] == sentence(row)
        fresh = Ledger()
        fresh.restore(ledger.snapshot())
        assert fresh.snapshot() == ledger.snapshot()


def test_an_alarm_between_two_crashes_is_told_once(tmp_path: Path) -> None:
    with LocalSystem(tmp_path, modules=("orchestrator",)) as mind:
        host = mind.hosts["orchestrator"]
        for record in shifted():
            host.emit([record], [])  # the process dies before it can tell of anything
    with LocalSystem(tmp_path, modules=("orchestrator",)) as mind:
        host = mind.hosts["orchestrator"]
        assert isinstance(host.module, Ledger)
        assert len(host.module.trends.pending) == 1
        tell(host, sampled(226, 3.0))
        tell(host, sampled(227, 3.0))
        assert [a.payload.metric for a in host.module.trends.alerts] == [SERIES]
        assert host.module.trends.pending == []


def test_series_are_bounded_and_those_beyond_are_counted() -> None:
    book = TrendBook()
    for index in range(MAX_SERIES + 3):
        book.apply(sampled(0, 1.0, f'duration_seconds{{task="t-{index}"}}'))
    assert (len(book.series), book.unwatched) == (MAX_SERIES, 3)


class Answers:
    """A client that knows one alert."""

    def __init__(self, *alerts: PerformanceAlert) -> None:
        row = {"state": "watched", "series": SERIES}
        rows = [msgspec.structs.asdict(alert) | {"id": "a1"} for alert in alerts]
        self.trends = {"alerts": rows, "series": [row, row, row | {"state": "learning"}], "unwatched": 0}


def test_report_and_status_say_what_left_its_baseline() -> None:
    alert = PerformanceAlert(SERIES, 3.0, None, "rose", 1.0, 120, 12, 2e5, 1e5, 0)
    found = Answers(alert).trends
    assert sentence(found["alerts"][0]) == f"{SERIES} rose from 1 to 3 (12 samples against 120)"
    out = Console(file=io.StringIO(), width=200)
    report._trends(out, found)
    report._trends(out, Answers().trends)
    assert isinstance(out.file, io.StringIO)
    text = out.file.getvalue()
    assert "rose from 1 to 3" in text
    assert "2 series watched, 1 still learning" in text


def test_status_shows_the_last_trends(capsys: pytest.CaptureFixture[str]) -> None:
    alert = PerformanceAlert(SERIES, 3.0, None, "rose", 1.0, 120, 12, 2e5, 1e5, 0)
    whole = {"state": "running", "events": 0, "events_per_s": 0.0, "refs_routed": 0, "nodes": [], "modules": []}
    print_status(whole | {"trends": Answers(alert).trends["alerts"]})
    assert "rose from 1 to 3" in capsys.readouterr().out
