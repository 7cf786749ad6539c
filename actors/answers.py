"""One question to many actors: all are asked at once, and what is answered in time is taken."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import RayError


class Answers:
    """What is on its way. Questions that are all asked before the first is waited for share one patience: a cut costs it once."""

    def __init__(self, handles: Mapping[str, Any], method: str, *arguments: Any) -> None:
        self._refs = {getattr(handle, method).remote(*arguments): name for name, handle in dict(handles).items()}

    def until(self, deadline: float) -> dict[str, Any]:
        """Return the answers by name that came before ``deadline`` (monotonic); a busy, dying or unreachable actor is left out."""
        refs = list(self._refs)
        patience_s = max(0.0, deadline - time.monotonic())
        done, _ = ray.wait(refs, num_returns=len(refs), timeout=patience_s) if refs else ([], [])
        found = {}
        for ref in done:
            try:
                found[self._refs[ref]] = ray.get(ref)
            except RayError:
                continue
        return found
