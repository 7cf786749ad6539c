"""Change detection on one series: ranks against a rolling baseline, with a stated rate of false alarms.

A new value is ranked among all values of the present window. While nothing changes (the values are exchangeable: in any order
equally likely) the smoothed rank p is uniform and independent of the ranks before it, whatever the values are distributed like: a
conformal p-value (Vovk, "Testing randomness online", Statistical Science 36, 2021). Betting on ranks near 0 (the series rose)
or near 1 (it fell), e = epsilon * p^(epsilon - 1) has the mean 1, the power calibrator. So the Shiryaev-Roberts sum
R <- (R + 1) * e grows by 1 a value on average, R - n is a martingale, and raising the alarm at R >= c takes at least c values on
average when nothing has changed (optional stopping; Vovk et al., "Retrain or not retrain: conformal test martingales for
change-point detection", COPA 2021; Shin, Ramdas and Rinaldo, "E-detectors", New England Journal of Statistics in Data Science 2,
2024). The mean of several such sums, here over three epsilons and both directions, is one again.

What that needs and real series have only in part: values in a row that depend on one another, or come and go with the hour, raise
more alarms than stated. So the values are medians of ``BLOCK`` samples, an alarm also needs a change that matters (``least_ratio``
and ``least_difference``, which can only make alarms rarer), and a window's oldest half is dropped when it is full. An alarm whose change
is too small is kept: it is told when the series has gone so far from its baseline that it matters.
"""

from __future__ import annotations

from hashlib import blake2b
from statistics import median, median_low
from typing import NamedTuple

import msgspec

BLOCK = 3
"""Samples a value is the median of: one spike is no value, and neighbours resemble each other less."""
LEARNING = 40
"""Values of a window before it is bet against: with fewer no rank is rare enough to mean anything."""
WINDOW = 240
"""Values a window holds; then the older half is dropped. With samples every 10 s it holds two hours of work."""
EPSILONS = (0.15, 0.3, 0.6)
"""Small ones find large changes soon, large ones find small changes at all."""
MAX_SUM = 1e100


class Change(NamedTuple):
    """A series left its baseline."""

    direction: str
    """``rose`` or ``fell``."""
    before: float
    """Median of the baseline: of the first ``before_samples`` after the last alarm, or since the series began."""
    before_samples: int
    after: float
    """Median since the change."""
    after_samples: int
    """How many samples it took to find it."""
    statistic: float
    """The Shiryaev-Roberts sum at the alarm; of a change that was too small at first, at that alarm."""
    since_s: int
    """When it probably began: where the evidence for it starts."""


class Effect(NamedTuple):
    """What change matters."""

    least_ratio: float = 1.5
    """After over before, or before over after."""
    least_difference: float = 0.0
    """In the unit of the series."""

    def matters(self, before: float, after: float) -> bool:
        """Return whether the difference of two medians is worth an alarm."""
        low, high = sorted((abs(before), abs(after)))
        return abs(after - before) > self.least_difference and (before * after < 0 or high >= low * self.least_ratio)


class Evidence(msgspec.Struct, array_like=True):
    """What speaks for a change in one direction."""

    sums: list[float] = msgspec.field(default_factory=lambda: [0.0] * len(EPSILONS))
    peak: float = 1.0
    """A product of bets that starts again whenever it falls below 1 (CUSUM); it says where the change began."""
    begun: int = 0
    """Values of the window before that start."""

    def bet(self, p: float, index: int) -> None:
        """Take the p-value of value ``index`` of the window."""
        self.sums = [min(MAX_SUM, (r + 1.0) * e * p ** (e - 1.0)) for r, e in zip(self.sums, EPSILONS, strict=True)]
        factor = EPSILONS[1] * p ** (EPSILONS[1] - 1.0)
        if self.peak <= 1.0:
            self.begun = index
        self.peak = min(MAX_SUM, max(1.0, self.peak * factor))

    @property
    def sum(self) -> float:
        return sum(self.sums) / len(EPSILONS)


class Detector(msgspec.Struct, array_like=True):
    """One series. A sample costs microseconds, the state 4 kB at most."""

    name: str
    """Feeds the randomness that breaks ties: the same samples under the same name give the same alarms."""
    count: int = 0
    """Values ever taken."""
    block: list[float] = []
    values: list[float] = []
    times_s: list[int] = []
    rose: Evidence = msgspec.field(default_factory=Evidence)
    fell: Evidence = msgspec.field(default_factory=Evidence)
    baseline: float | None = None
    """Median of the first window after the last alarm. Changes too small to tell do not move it, so that many of them add up."""
    small: float = 0.0
    """The sum at the last alarm whose change was too small to tell; 0 = it was told. Until it is, each value asks again: one alarm, one
    change at most, so this raises no more of them than stated."""

    @property
    def is_learning(self) -> bool:
        return len(self.values) < LEARNING

    @property
    def statistic(self) -> float:
        """The sum that an alarm is raised by."""
        return (self.rose.sum + self.fell.sum) / 2

    def take(self, sample: float, time_s: int, limit: float, effect: Effect) -> Change | None:
        """Take a sample; return the change that it is the last evidence for.

        ``limit``: at least so many values pass on average between two false alarms.
        """
        self.block.append(sample)
        if len(self.block) < BLOCK:
            return None
        value, self.block = median(self.block), []
        if not self.is_learning:
            p = self._rank(value)
            self.rose.bet(p, len(self.values))
            self.fell.bet(1.0 - p, len(self.values))
        self.count += 1
        self.values.append(value)
        self.times_s.append(time_s)
        if self.baseline is None and not self.is_learning:
            self.baseline = median(self.values)
        if self.statistic >= limit:
            return self._conclude(effect)
        change = None if self.is_learning or not self.small else self._ask_again(effect)
        if len(self.values) >= WINDOW:
            self._roll()
        return change

    def _rank(self, value: float) -> float:
        """Return the smoothed share of values that are as high or higher, the new one among them; never 0 or 1."""
        digest = blake2b(f"{self.name}/{self.count}".encode(), digest_size=6).digest()
        theta = (int.from_bytes(digest, "big") + 0.5) / 2**48
        above = sum(v > value for v in self.values)
        ties = 1 + sum(v == value for v in self.values)
        return (above + theta * ties) / (len(self.values) + 1)

    def _conclude(self, effect: Effect) -> Change | None:
        """Begin a new window; return the change unless it is too small to matter."""
        evidence = max(self.rose, self.fell, key=lambda evidence: evidence.sum)
        change = self._change(evidence.begun, median(self.values[evidence.begun :]), self.statistic, effect)
        self.small = self.statistic
        self._begin_window(is_told=change is not None)
        return change

    def _ask_again(self, effect: Effect) -> Change | None:
        """Return what has become of a change that was too small: where the series stands now, once that matters."""
        last = median_low(self.values[-LEARNING:])  # a value that there was, not one between two levels
        change = self._change(len(self.values) - LEARNING, last, self.small, effect)
        if change is not None:
            self._begin_window(is_told=True)
        return change

    def _begin_window(self, *, is_told: bool) -> None:
        self.values, self.times_s = [], []
        self.rose, self.fell = Evidence(), Evidence()
        if is_told:
            self.baseline, self.small = None, 0.0

    def _change(self, begun: int, after: float, statistic: float, effect: Effect) -> Change | None:
        """Return the change from the baseline to ``after``, since value ``begun``; None = it is too small to matter."""
        before = self.baseline
        assert before is not None  # it is there as soon as values are bet against
        if not effect.matters(before, after):
            return None
        direction, samples = "rose" if after > before else "fell", (len(self.values) - begun) * BLOCK
        return Change(direction, before, LEARNING * BLOCK, after, samples, statistic, self.times_s[begun])

    def _roll(self) -> None:
        """Forget the older half of the window, and the evidence that was counted against it."""
        keep = WINDOW // 2
        self.values, self.times_s = self.values[-keep:], self.times_s[-keep:]
        self.rose, self.fell = Evidence(), Evidence()
