"""What the past of every concept predicts for the next time cell, and how surprising the cell is.

A subject stood in k of the n documents of its past; the next cell holds m documents, x of them with the subject.

* *Exchangeable background.* X ~ BetaBinomial(m, k + 1, n - k). With this prior, Beta(1, 0), the upper predictive tail
  is Fisher's exact conditional test of "x of m against k of n" (A. R. Thatcher, Relationships between Bayesian and
  confidence limits for predictions, JRSS B 26, 1964), so P(p <= u) <= u whenever the documents' dates are exchangeable.
* *Overdispersion.* Shares differ from cell to cell. With intra-cell correlation rho the precision of the predictive
  falls from n + 1 to 1 / (1 / (n + 2) + rho) - 1 at the same mean. rho is the moment estimate over past cells,
  Sum(x_j - m_j s)^2 against its exact expectation without replacement, shrunk towards the subjects of similar past
  count. Past cells with p <= OUTLYING teach the share, but not the noise. The reported p is the larger of the two, hence
  the guarantee above survives any estimate of rho.
* *Conformal calibration.* The p-values of all past cells of subjects in the same band of past count are the calibration
  scores: F(u) = (1 + #{p_j <= u}) / (1 + N) is the (Mondrian) split-conformal p-value of a cell that scores u (Vovk,
  Gammerman and Shafer, Algorithmic Learning in a Random World, 2005, ch. 2 and 4). Where at least CALIBRATION_MINIMUM past
  cells reach a level u and F(u) > u, every p is raised to p ** g, g = min over levels of log F(u) / log u: equal to the
  conformal p-value at the worst level, with an exponential tail of -log p beyond the ranks the past can resolve.
  g <= 1: calibration only ever makes an alarm harder.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

OUTLYING = 0.01
BANDS = (4, 16, 64)
"""Borders of past count between which subjects share their estimate of overdispersion."""
LEVELS = (0.05, OUTLYING)
"""Where calibration compares; below OUTLYING the past holds departures rather than background."""
CALIBRATION_MINIMUM = 5
_SMALLEST = 1e-300


class Background:
    """Running moments of every subject over a window of cells; memory is linear in the subjects."""

    def __init__(self, subjects: int) -> None:
        import numpy as np

        self.documents = 0
        """n: documents in the window."""
        self.count: Floats = np.zeros(subjects)
        """k: documents in the window that hold the subject."""
        self._moments: Floats = np.zeros((6, subjects))
        """Sums over the cells that teach the noise: x, x^2, m x, m, m^2, m^3."""

    def observe(self, hits: Floats, size: int, outlying: NDArray[np.bool_], sign: int = 1) -> None:
        """Take a cell of ``size`` documents into the window (``sign`` = 1), or out of it (-1)."""
        import numpy as np

        ones = np.ones_like(hits)
        cell = np.stack([hits, hits**2, size * hits, size * ones, size**2 * ones, size**3 * ones])
        cell[:, outlying] = 0.0
        self.documents += sign * size
        self.count += sign * hits
        self._moments += sign * cell

    def bands(self) -> NDArray[np.intp]:
        """Return the band of past count of every subject."""
        import numpy as np

        return np.digitize(self.count, BANDS)

    def overdispersion(self) -> Floats:
        """Return rho of every subject, in [0, 0.95]."""
        import numpy as np

        x, xx, mx, m, mm, mmm = self._moments
        share = x / np.maximum(m, 1)
        rest = np.maximum(m - 1, 1)
        variance = share * (1 - share)
        excess = xx - 2 * share * mx + share**2 * mm - variance * (m * m - mm) / rest
        weight = np.maximum(variance * (m * (mm - m) - (mmm - mm)) / rest, 0.0)
        rho = np.zeros_like(share)
        band = self.bands()
        for b in range(len(BANDS) + 1):
            members = band == b
            total = weight[members].sum()
            if total <= 0:
                continue
            prior = total / members.sum()
            pooled = max(0.0, excess[members].sum() / total)
            rho[members] = (excess[members] + prior * pooled) / (weight[members] + prior)
        clipped: Floats = np.clip(rho, 0.0, 0.95)
        return clipped

    def surprise(self, hits: Floats, size: int, *, overdispersed: bool = True) -> tuple[Floats, Floats]:
        """Return (p, z) of the next cell for every subject: upper predictive tail and standardised residual.

        Cells at or below their expectation get p = 1: only rises are alarms.
        """
        import numpy as np

        n = self.documents
        mean = (self.count + 1) / (n + 1)
        rho = self.overdispersion() if overdispersed else np.zeros_like(mean)
        precision = 1 / (1 / (n + 2) + rho) - 1
        variance = size * mean * (1 - mean) * (size + precision) / (1 + precision)
        z = (hits - size * mean) / np.sqrt(np.maximum(variance, 1e-12))
        p = np.ones_like(mean)
        above = np.flatnonzero(hits > size * mean)
        a, b, x = self.count[above] + 1, n - self.count[above], hits[above]
        scale = precision[above] / (n + 1)
        p[above] = np.maximum(beta_binomial_tail(x, size, a, b), beta_binomial_tail(x, size, a * scale, b * scale))
        return p, z


def outlying(p: Floats) -> NDArray[np.bool_]:
    """Return which cells are too surprising to teach the noise."""
    return p <= OUTLYING


def beta_binomial_tail(x: Floats, m: int, a: Floats, b: Floats) -> Floats:
    """Return P(X >= x) for X ~ BetaBinomial(m, a, b), elementwise; x above the mean, 0 < x <= m, a and b > 0.

    First term in logarithms, the rest by the ratio of neighbours, summed until a term no longer matters.
    """
    import numpy as np
    from scipy.special import betaln, gammaln

    choose = gammaln(m + 1.0) - gammaln(x + 1) - gammaln(m - x + 1)
    first = choose + betaln(a + x, b + m - x) - betaln(a, b)
    total = np.ones_like(x)
    term = np.ones_like(x)
    active = np.arange(len(x))
    step = np.array(x, dtype=np.float64)
    while len(active):
        j, alpha, beta = step[active], a[active], b[active]
        term[active] *= (m - j) * (alpha + j) / ((j + 1) * np.maximum(beta + m - j - 1, 1e-12))
        total[active] += term[active]
        step[active] += 1
        active = active[(step[active] < m) & (term[active] > 1e-15 * total[active])]
    tail: Floats = np.clip(np.exp(first) * total, _SMALLEST, 1.0)
    return tail


class Calibration:
    """Counts, band by band of past count, how often past p-values fell below each level (Mondrian); bounded memory."""

    def __init__(self) -> None:
        self.total = [0] * (len(BANDS) + 1)
        self.below = [dict.fromkeys(LEVELS, 0) for _ in self.total]

    def observe(self, p: Floats, band: NDArray[np.intp]) -> None:
        """Take the p-values of one cell of time, and the band of each subject, into the past."""
        for b, below in enumerate(self.below):
            members = p[band == b]
            self.total[b] += len(members)
            for level in LEVELS:
                below[level] += int((members <= level).sum())

    def exponents(self) -> Floats:
        """Return g of each band, in (0, 1]: a calibrated p-value is p ** g."""
        import numpy as np

        return np.array([self._exponent(b) for b in range(len(self.total))])

    def _exponent(self, band: int) -> float:
        g = 1.0
        for level, below in self.below[band].items():
            share = (1 + below) / (1 + self.total[band])
            if below >= CALIBRATION_MINIMUM and share > level:
                g = min(g, math.log(share) / math.log(level))
        return max(g, 0.05)


def benjamini_hochberg(p: Floats, tested: int, q: float) -> float:
    """Return the largest rejected p-value of the step-up procedure, or -1 when none is.

    ``p`` may leave out tests whose p-value exceeds ``q``; ``tested`` counts all of them (Benjamini and Hochberg,
    JRSS B 57, 1995).
    """
    import numpy as np

    ordered = np.sort(p)
    passed = np.flatnonzero(ordered <= q * np.arange(1, len(ordered) + 1) / max(tested, 1))
    return float(ordered[passed[-1]]) if len(passed) else -1.0
