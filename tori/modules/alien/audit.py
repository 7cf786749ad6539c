"""One full audit: every subject in every period, one false discovery rate, departures merged into episodes.

A pure function of ``AuditInput``. All cells that could be tested are tested: every subject that stands in a dated
document, in every period that has documents and a past of PAST_MINIMUM documents. Choosing only cells with hits
would choose by the outcome and void the rate.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from tori.modules.alien.background import Background, Calibration, benjamini_hochberg, outlying
from tori.modules.alien.episode import Alarm, Timeline, merge
from tori.modules.alien.period import GRAINS, choose_grain, month_number
from tori.modules.alien.record import AuditInput, AuditResult, Subject

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FDR = 0.05
"""Benjamini-Hochberg level over all tested cells of an audit."""
WINDOW = 100
"""Periods with documents that make the background; older ones are forgotten."""
PAST_MINIMUM = 10
"""Dated documents the past needs before a period can be tested."""
ELEVATED = 0.05
"""A departure goes on while its p-value stays at or below this, once it began with a rejected cell."""
FINDINGS_MAXIMUM = 500
"""Findings an audit returns, most significant first: the bound on the module's state."""


class Tested(NamedTuple):
    """Outcome of testing all cells; only cells with p <= ELEVATED are listed."""

    tested: int
    cells: list[tuple[int, int, float, float, int, int, int, int]]
    """(subject, period index, p, z, hits, documents, past hits, past documents)."""


def audit(data: AuditInput, *, overdispersed: bool = True, calibrated: bool = True) -> AuditResult:
    """Return the departures in ``data``; the two switches exist for the ablation."""
    dated = {document: month_number(time_ns) for document, time_ns in data.documents}
    grain = choose_grain(dated.values())
    cell_of = {document: month // GRAINS[grain] for document, month in dated.items()}
    periods = sorted(set(cell_of.values()))
    subjects = [s for s in data.subjects if any(d in cell_of for d in s.sources)]
    reason = _untestable(len(dated), len(periods), len(data.subjects), len(subjects))
    if reason:
        return AuditResult(0, len(dated), data.undated, "", len(periods), 0, reason, [])
    index = {cell: i for i, cell in enumerate(periods)}
    timeline = Timeline(grain, periods, [defaultdict(list) for _ in subjects])
    for number, subject in enumerate(subjects):
        for document in sorted(set(subject.sources)):
            if document in cell_of:
                timeline.holders[number][index[cell_of[document]]].append(document)
    sizes = [0] * len(periods)
    for cell in cell_of.values():
        sizes[index[cell]] += 1
    outcome = assess(timeline.holders, sizes, overdispersed=overdispersed, calibrated=calibrated)
    if not outcome.tested:
        reason = f"fewer than {PAST_MINIMUM} dated documents lie before the last period"
    alarms = _reject(outcome, subjects)
    background = "beta-binomial on the past" + (", overdispersed" if overdispersed else "")
    test = "conformally calibrated tail" if calibrated else "predictive tail"
    model = f"{background}; {test}; Benjamini-Hochberg at {FDR} over all cells"
    findings = merge(alarms, subjects, timeline, model)
    rejected = sum(a.rejected for a in alarms)
    periods_tested = len(periods) if outcome.tested else 0
    return AuditResult(
        outcome.tested,
        len(dated),
        data.undated,
        grain,
        periods_tested,
        rejected,
        reason,
        findings[:FINDINGS_MAXIMUM],
    )


def _untestable(dated: int, periods: int, known: int, subjects: int) -> str:
    if not dated:
        return "no dated documents: aliens need dates"
    if dated <= PAST_MINIMUM:
        return f"{dated} dated documents: aliens need more than {PAST_MINIMUM}"
    if periods < 2:
        return "all dated documents lie in one period: aliens need a past"
    if not subjects:
        return "no concepts yet" if not known else "no concept stands in a dated document"
    return ""


def assess(
    holders: list[defaultdict[int, list[str]]], sizes: list[int], *, overdispersed: bool, calibrated: bool
) -> Tested:
    """Test every subject in every period, in order of time, each from what lies before it."""
    import numpy as np

    counts = _columns(holders, len(sizes))
    background, calibration = Background(len(holders)), Calibration()
    outliers: dict[int, NDArray[np.bool_]] = {}
    nobody = np.zeros(len(holders), dtype=np.bool_)
    tested = 0
    found = []
    for t, size in enumerate(sizes):
        hits = _dense(counts[t], len(holders))
        if background.documents >= PAST_MINIMUM:
            raw, z = background.surprise(hits, size, overdispersed=overdispersed)
            band = background.bands()
            p = raw ** calibration.exponents()[band] if calibrated else raw
            calibration.observe(raw, band)
            tested += len(p)
            for s in np.flatnonzero(p <= ELEVATED).tolist():
                past = int(background.count[s])
                found.append((s, t, float(p[s]), float(z[s]), int(hits[s]), size, past, background.documents))
            outliers[t] = outlying(raw)
        background.observe(hits, size, outliers.get(t, nobody))
        if t >= WINDOW:
            old = t - WINDOW
            background.observe(_dense(counts[old], len(holders)), sizes[old], outliers.pop(old, nobody), -1)
    return Tested(tested, found)


def _columns(holders: list[defaultdict[int, list[str]]], periods: int) -> list[dict[int, int]]:
    """Return for every period {subject: documents that hold it}."""
    counts: list[dict[int, int]] = [{} for _ in range(periods)]
    for subject, cells in enumerate(holders):
        for t, documents in cells.items():
            counts[t][subject] = len(documents)
    return counts


def _dense(counts: dict[int, int], subjects: int) -> Floats:
    import numpy as np

    hits = np.zeros(subjects)
    hits[list(counts)] = list(counts.values())
    return hits


def _reject(outcome: Tested, subjects: list[Subject]) -> list[Alarm]:
    """Return the elevated cells as alarms, marked where the false discovery rate lets them speak.

    Concepts and map nodes each get half of the error budget: Benjamini-Hochberg on p / w with weights that average 1 over
    all tested cells (C. R. Genovese, K. Roeder and L. Wasserman, False discovery control with p-value weighting,
    Biometrika 93, 2006). Otherwise a thousand concepts would drown the few communities.
    """
    import numpy as np

    nodes = sum(s.scale > 0 for s in subjects)
    shares = {True: nodes / len(subjects), False: 1 - nodes / len(subjects)}
    weights = {is_node: 0.5 / share if 0 < share < 1 else 1.0 for is_node, share in shares.items()}
    weighted = np.array([cell[2] / weights[subjects[cell[0]].scale > 0] for cell in outcome.cells])
    threshold = benjamini_hochberg(weighted, outcome.tested, FDR)
    return [Alarm(*cell, rejected=bool(w <= threshold)) for cell, w in zip(outcome.cells, weighted, strict=True)]
