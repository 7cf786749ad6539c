"""Alarms that speak of the same documents are one episode.

Alarmed cells of one subject in a row are a *run*: it begins with a rejected cell and goes on while the cells after it stay
elevated. Runs are taken by significance; one of whose departing documents at least OVERLAP already belong to a more
significant leader joins its episode, any other leads its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple

from tori.ids import content_name
from tori.modules.alien.period import cell_name
from tori.modules.alien.record import Finding, Subject

OVERLAP = 0.5
TERMS_MAXIMUM = 8
EVIDENCE_MAXIMUM = 3


class Alarm(NamedTuple):
    """An elevated cell."""

    subject: int
    period: int
    p: float
    z: float
    hits: int
    size: int
    past_hits: int
    past_size: int
    rejected: bool


class Timeline(NamedTuple):
    """Which documents hold which subject when."""

    grain: str
    periods: list[int]
    """Cell numbers of the periods with documents, ascending."""
    holders: list[defaultdict[int, list[str]]]
    """For every subject {period index: its documents there}."""

    def name(self, period: int) -> str:
        return cell_name(self.periods[period], self.grain)


class Run(NamedTuple):
    """A departure of one subject."""

    subject: int
    peak: Alarm
    first: int
    last: int
    documents: frozenset[str]
    key: tuple[float, int, str]
    """Order of significance: p, then map nodes after concepts, then id."""


def merge(alarms: list[Alarm], subjects: list[Subject], timeline: Timeline, model: str) -> list[Finding]:
    """Return one finding per episode, sorted by (p, id)."""
    runs = sorted(_runs(alarms, subjects, timeline), key=lambda r: r.key)
    findings = [_finding(group, subjects, timeline, model) for group in _groups(runs)]
    return sorted(findings, key=lambda f: (f.p, f.alien_id))


def _runs(alarms: list[Alarm], subjects: list[Subject], timeline: Timeline) -> list[Run]:
    cells: defaultdict[int, dict[int, Alarm]] = defaultdict(dict)
    for alarm in alarms:
        cells[alarm.subject][alarm.period] = alarm
    runs = []
    for number, by_period in cells.items():
        after = -1
        for period in sorted(by_period):
            if period <= after or not by_period[period].rejected:
                continue
            after = period
            while after + 1 in by_period:
                after += 1
            spoken = [by_period[t] for t in range(period, after + 1)]
            peak = min(spoken, key=lambda a: (a.p, a.period))
            documents = frozenset(d for a in spoken for d in timeline.holders[number][a.period])
            subject = subjects[number]
            runs.append(Run(number, peak, period, after, documents, (peak.p, subject.scale, subject.id)))
    return runs


def _groups(runs: list[Run]) -> list[list[Run]]:
    """Return the runs, most significant first, grouped around leaders: each joins the first leader that holds it, or leads."""
    groups: list[list[Run]] = []
    led_by: defaultdict[str, list[int]] = defaultdict(list)
    for run in runs:
        shared = Counter(g for d in run.documents for g in led_by[d])
        home = min((g for g, n in shared.items() if n >= OVERLAP * len(run.documents)), default=None)
        if home is None:
            home = len(groups)
            groups.append([])
            for document in run.documents:
                led_by[document].append(home)
        groups[home].append(run)
    return groups


def _finding(group: list[Run], subjects: list[Subject], timeline: Timeline, model: str) -> Finding:
    leader = group[0]
    subject, peak = subjects[leader.subject], leader.peak
    onset = timeline.name(leader.first)
    after = leader.last + 1
    terms = tuple(dict.fromkeys(subjects[run.subject].label for run in group))
    votes = Counter(d for run in group for d in run.documents)
    documents = sorted(leader.documents, key=lambda d: (-votes[d], d))[:EVIDENCE_MAXIMUM]
    return Finding(
        content_name("alien", subject.id, onset),
        subject.id,
        subject.label,
        subject.scale,
        float(f"{peak.p:.6g}"),
        float(f"{peak.z:.6g}"),
        onset,
        timeline.name(leader.last),
        timeline.name(after) if after < len(timeline.periods) else "",
        _words(peak, timeline, terms),
        model,
        terms[:TERMS_MAXIMUM],
        tuple(documents),
    )


def _words(peak: Alarm, timeline: Timeline, terms: tuple[str, ...]) -> str:
    """Return the counts of the peak in words."""
    text = (
        f"{peak.hits} of {peak.size} documents in {timeline.name(peak.period)}, "
        f"where {peak.past_hits} of the {peak.past_size} before held it"
    )
    others = len(terms) - 1
    if others:
        more = f" and {others - 3} more" if others > 3 else ""
        text += f"; with {', '.join(terms[1:4])}{more}"
    return text
