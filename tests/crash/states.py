"""All crash states, or some of them."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.crash.model import Model, Pick, Tree


def every_state(model: Model, limit: int) -> Iterator[Tree]:
    """Yield each state a power loss may leave, once; raises AssertionError beyond ``limit``."""
    digits: list[int] = []
    for _ in range(limit):
        sizes: list[int] = []

        def pick(choices: int, digits: list[int] = digits, sizes: list[int] = sizes) -> int:
            if len(sizes) == len(digits):
                digits.append(0)
            sizes.append(choices)
            return digits[len(sizes) - 1]

        yield model.after_power_loss(pick)
        del digits[len(sizes) :]
        while digits and digits[-1] + 1 == sizes[len(digits) - 1]:
            digits.pop()
        if not digits:
            return
        digits[-1] += 1
    raise AssertionError(f"more than {limit} crash states: the trace is too long to look at all of them")


def random_pick(rng: random.Random) -> Pick:
    """Return picks with a mood: nothing reached the disk, everything, most, or anything."""
    mood = rng.randrange(5)

    def pick(choices: int) -> int:
        if mood == 0:
            return 0
        if mood == 1:
            return choices - 1
        if mood == 2 and rng.random() < 0.8:
            return choices - 1
        if mood == 3 and rng.random() < 0.8:
            return 0
        return rng.randrange(choices)

    return pick
