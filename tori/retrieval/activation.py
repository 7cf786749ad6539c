"""Base-level activation: how present a memory is, from when it was used."""

from __future__ import annotations

import math
from collections.abc import Iterable


def base_level(ages: Iterable[float], decay: float = 0.5, unit: float = 1.0) -> float:
    """Return ln(sum over uses of (1 + age / unit)^-decay); -inf without a use.

    Anderson & Schooler, *Reflections of the environment in memory* (1991); ACT-R's B_i = ln(sum t_j^-d), d = 0.5. One
    unit is added to each age, so a use of right now counts 1 instead of infinitely much.
    """
    total = sum((1.0 + max(age, 0.0) / unit) ** -decay for age in ages)
    return math.log(total) if total > 0 else -math.inf
