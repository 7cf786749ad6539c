"""The audit: the promised false discovery rate on null twins, all cells counted, periods, episodes, and the PEPs."""

from __future__ import annotations

import gzip
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from scipy.stats import binom

from tests.support.modules import ingested
from tests.support.planted_time import permuted, world, year_ns
from tests.support.tiny_reader import read
from tori.events.document import Document
from tori.modules.alien.audit import ELEVATED, FDR, audit
from tori.modules.alien.period import cell_name, choose_grain, month_number
from tori.modules.alien.record import AuditInput, AuditResult, Subject

TWINS = 200
READ = 4000
"""Characters of each PEP that the tests read, for speed."""


def share_with_alarms(twins: list[AuditInput]) -> int:
    return sum(audit(twin).alarms > 0 for twin in twins)


def test_a_planted_burst_is_found() -> None:
    found = 0
    for seed in range(10):
        result = audit(world(seed, burst=0.6))
        found += any(f.concept_id == "c000" and f.onset == "2011" for f in result.findings)
    assert found >= 9


@pytest.mark.no_cover
def test_null_twins_stay_within_the_stated_rate() -> None:
    """Promise: with dates dealt at random, at most FDR of the audits raise any alarm. Tolerance: 95 % binomial, seeds fixed."""
    twins = [permuted(world(seed, burst=0.6), seed) for seed in range(TWINS)]
    assert share_with_alarms(twins) <= binom.ppf(0.95, TWINS, FDR)


def test_every_subject_is_tested_in_every_period_with_a_past() -> None:
    """Testing only cells with hits would choose by the outcome; hits or not, each cell counts."""
    data = world(3, burst=0.6)
    watched = sum(bool(s.sources) for s in data.subjects)
    cells = len({(s.id, d[:2]) for s in data.subjects for d in s.sources})
    assert audit(data).tested == watched * 15 > 1.5 * cells


def test_results_do_not_depend_on_the_order_of_documents() -> None:
    data = world(1, burst=0.6)
    assert audit(AuditInput(data.documents[::-1], 0, data.subjects)) == audit(data)


def test_subjects_without_dated_documents_are_not_tested() -> None:
    data = world(2)
    lost = AuditInput(data.documents, 0, [*data.subjects, Subject("x", "x", 0, ("nowhere",))])
    assert audit(lost).tested == audit(data).tested
    none = audit(AuditInput(data.documents, 0, [Subject("x", "x", 0, ("nowhere",))]))
    assert none.reason == "no concept stands in a dated document"
    assert audit(AuditInput(data.documents, 0, [])).reason == "no concepts yet"


def test_a_community_speaks_beside_a_thousand_concepts() -> None:
    """Half of the error budget belongs to map nodes, so more concepts do not silence them."""
    data = world(4, subjects=600)
    burst = tuple(f"10-{i:02d}" for i in range(5)) + ("05-01",)
    quiet = [Subject(s.id, s.label, 0, s.sources) for s in data.subjects]
    as_concept = audit(AuditInput(data.documents, 0, [*quiet, Subject("x", "x", 0, burst)]))
    as_node = audit(AuditInput(data.documents, 0, [*quiet, Subject("x", "x", 1, burst)]))
    assert [f.label for f in as_concept.findings] == []
    assert [f.label for f in as_node.findings] == ["x"]


def test_a_past_that_never_reaches_the_minimum_says_so() -> None:
    documents = [(f"d{i}", year_ns(2000 if i < 9 else 2001)) for i in range(40)]
    result = audit(AuditInput(documents, 0, [Subject("a", "a", 0, ("d3", "d20"))]))
    assert (result.tested, result.findings) == (0, [])
    assert "before the last period" in result.reason


def test_a_departure_goes_on_while_elevated() -> None:
    data = world(4)
    busy = {f"{y:02d}-{i:02d}" for y, n in ((10, 18), (11, 18), (12, 18)) for i in range(n)}
    subjects = [Subject("c000", "burst", 0, tuple(sorted(busy))), *data.subjects[1:]]
    finding = audit(AuditInput(data.documents, 0, subjects)).findings[0]
    assert (finding.onset, finding.last, finding.ended) == ("2010", "2012", "2013")
    assert finding.p <= ELEVATED


def test_a_long_departure_is_not_swallowed_by_a_short_one_inside_it() -> None:
    """Joining asks for half of the joining run's own documents."""
    data = world(4)
    short = tuple(f"10-{i:02d}" for i in range(14))
    long = tuple(f"{y}-{i:02d}" for y in (10, 11, 12) for i in range(12))
    subjects = [Subject("c000", "short", 0, short), Subject("c001", "long", 0, long), *data.subjects[2:]]
    found = {f.label: f.last for f in audit(AuditInput(data.documents, 0, subjects)).findings}
    assert found == {"short": "2010", "long": "2012"}


def test_unrelated_bursts_are_two_findings() -> None:
    data = world(4)
    one = tuple(f"10-{i:02d}" for i in range(12))
    two = tuple(f"10-{i:02d}" for i in range(12, 24))
    subjects = [Subject("c000", "one", 0, one), Subject("c001", "two", 0, two), *data.subjects[2:]]
    labels = {f.label for f in audit(AuditInput(data.documents, 0, subjects)).findings}
    assert {"one", "two"} <= labels


def test_a_past_beyond_the_window_is_forgotten() -> None:
    """A subject silent for more than the window is news again."""
    documents = [(f"{y:03d}-{i}", year_ns(1700 + y)) for y in range(140) for i in range(10)]
    old = {f"{y:03d}-{i}" for y in range(10) for i in range(10)}
    subject = Subject("a", "a", 0, tuple(sorted(old | {f"130-{i}" for i in range(9)})))
    context = audit(AuditInput(documents, 0, [subject])).findings[0].context
    assert context == "9 of 10 documents in 1830, where 0 of the 1000 before held it"


@pytest.mark.parametrize(
    ("per_month", "grain"), [(12, "month"), (4, "quarter"), (1, "year")], ids=["month", "quarter", "year"]
)
def test_the_grain_follows_the_counts(per_month: int, grain: str) -> None:
    assert choose_grain([24240 + m for m in range(48) for _ in range(per_month)]) == grain


def test_a_coarser_grain_with_as_many_cells_is_taken() -> None:
    assert choose_grain([24240 + 12 * y + 5 for y in range(6) for _ in range(30)]) == "year"


def test_names_of_cells_are_iso() -> None:
    month = month_number(int(datetime(2018, 5, 9, tzinfo=UTC).timestamp()) * 10**9)
    assert [cell_name(month // s, g) for g, s in (("month", 1), ("quarter", 3), ("year", 12))] == [
        "2018-05",
        "2018-04",
        "2018",
    ]
    assert cell_name(month_number(-1), "month") == "1969-12"


@pytest.fixture(scope="module")
def peps(shared_data: Path) -> AuditInput:
    with gzip.open(shared_data / "peps.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    dates = {r["id"]: int(datetime.fromisoformat(r["time"]).timestamp()) * 10**9 for r in rows}
    documents = [Document(r["id"], r["title"], r["text"][:READ], dates[r["id"]]) for r in rows]
    concepts = [e.payload for e in read(documents, ingested(documents), vectors=False)]
    subjects = [Subject(c.concept_id, c.label, 0, c.sources) for c in concepts]  # type: ignore[union-attr]  # ConceptAdded
    return AuditInput(sorted(dates.items()), 0, subjects)


def departures(result: AuditResult) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for f in result.findings:
        found.setdefault(f.onset, set()).update(f.terms)
    return found


def test_the_peps_show_what_happened(peps: AuditInput) -> None:
    began = time.process_time()
    result = audit(peps)
    assert time.process_time() - began < 5
    found = departures(result)
    assert "governance" in found["2018"]
    assert any("pattern" in term for term in found["2020"])
    assert len(result.findings) < 30


def test_permuted_peps_are_silent_within_the_rate(peps: AuditInput) -> None:
    assert share_with_alarms([permuted(peps, seed) for seed in range(6)]) <= 1
