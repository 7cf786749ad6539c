"""How what an attempt prints comes to the orchestrator, from whatever node it is on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import ray

from actors.names import NAMESPACE, ORCHESTRATOR
from actors.worker import begin_work
from tori.resources.output import printed

Attempt = tuple[str, int]
"""Run and number of an attempt."""
TAKE_S = 5.0
"""How long the orchestrator may take to write a part down."""


@contextlib.contextmanager
def at_work(attempt: Attempt | None) -> Iterator[None]:
    """Be background work inside. Of an attempt the orchestrator hears that it has begun, and what it prints."""
    begin_work()
    if attempt is None:
        yield
        return
    with printed(_Post(*attempt).take):
        yield


class _Post:
    """The way from one attempt to the orchestrator."""

    def __init__(self, run_id: str, attempt: int) -> None:
        self._run_id, self._attempt = run_id, attempt
        self._orchestrator: Any = None

    def take(self, data: bytes) -> None:
        """Say that the attempt has begun, or hand a part of its log over; raises when the orchestrator does not take it."""
        if self._orchestrator is None:
            self._orchestrator = ray.get_actor(ORCHESTRATOR, namespace=NAMESPACE)
        if data:
            ray.get(self._orchestrator.add_log.remote(self._run_id, self._attempt, data), timeout=TAKE_S)
        else:
            self._orchestrator.begin_run.remote(self._run_id, self._attempt)
