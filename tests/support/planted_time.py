"""Dated corpora with known departures, without text: what an alien audit takes."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from tori.modules.alien.record import AuditInput, Subject

BURST_YEAR = 2011


def year_ns(year: int) -> int:
    """Return the first of June of a year in nanoseconds since the epoch."""
    return int(datetime(year, 6, 1, tzinfo=UTC).timestamp()) * 10**9


def world(
    seed: int, *, subjects: int = 120, burst: float = 0.0, spread: float = 0.0, drift: float = 0.0, size: int = 25
) -> AuditInput:
    """Sixteen years of ``size`` documents that hold subjects independently, with shares of 0.4 to 40 %.

    ``burst`` is the share of subject 0 in BURST_YEAR (2 % otherwise); ``spread`` the intra-year correlation of every share;
    ``drift`` the standard deviation of the yearly step of its logit. With all three zero the dates are exchangeable.
    """
    rng = np.random.default_rng(seed)
    share = np.exp(rng.normal(np.log(0.03), 1.0, subjects)).clip(0.004, 0.4)
    share[0] = 0.02
    logit = np.log(share / (1 - share))
    documents: list[tuple[str, int]] = []
    sources: list[list[str]] = [[] for _ in range(subjects)]
    for year in range(16):
        logit += drift * rng.normal(size=subjects)
        now = 1 / (1 + np.exp(-logit))
        if spread:
            now = rng.beta(now * (1 / spread - 1), (1 - now) * (1 / spread - 1))
        if burst and 2000 + year == BURST_YEAR:
            now[0] = burst
        for i in range(size):
            name = f"{year:02d}-{i:02d}"
            documents.append((name, year_ns(2000 + year)))
            for s in np.flatnonzero(rng.random(subjects) < now):
                sources[s].append(name)
    named = [Subject(f"c{i:03d}", f"concept {i}", 0, tuple(s)) for i, s in enumerate(sources)]
    return AuditInput(documents, 0, named)


def permuted(data: AuditInput, seed: int) -> AuditInput:
    """The null twin: the same documents and dates, dealt anew."""
    times = np.random.default_rng(seed).permutation([t for _, t in data.documents]).tolist()
    dealt = [(d, t) for (d, _), t in zip(data.documents, times, strict=True)]
    return AuditInput(dealt, data.undated, data.subjects)
