"""A request to a machine with a thread of its own: put into its queue, and waited for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

from tori.errors import Unavailable

Stimuli: TypeAlias = "queue.Queue[tuple[Any, threading.Event | None, list[BaseException]]]"
"""Stimuli with who waits for them, and what the machine raised over them."""


def ask(stimuli: Stimuli, stimulus: Any, timeout_s: float, is_held_up: Callable[[], bool], refusal: str) -> None:
    """Give a machine a request and wait until it was handled; raises what it raised, or Unavailable: ``refusal`` in so long.

    While everything waits for room on the disk, so does the request: it will be handled, and nobody may think that it was not.
    """
    done, errors = threading.Event(), list[BaseException]()
    stimuli.put((stimulus, done, errors))
    while not done.wait(timeout_s):
        if not is_held_up():
            raise Unavailable(f"{refusal} in {timeout_s:.0f} s.", remedy="Try again.")
    if errors:
        raise errors[0]
