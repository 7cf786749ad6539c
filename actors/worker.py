"""Worker processes of background work: their own, at idle CPU priority for good.

A process without privileges that has gone to idle priority cannot come back, so these workers are never given to anybody else: Ray hands
a worker only to tasks of the same runtime environment, and theirs has a mark. Whatever a task starts itself inherits both.
"""

from __future__ import annotations

import os
from typing import Any

from tori.resources.background import enter_background

MARK, BACKGROUND = "TORI_WORKER", "background"


def background_environment() -> dict[str, Any]:
    """Return the runtime environment of a Ray task that is background work."""
    return {"env_vars": {MARK: BACKGROUND}}


def begin_work() -> None:
    """Go to idle priority, in a worker that is for background work; elsewhere nothing happens."""
    if os.environ.get(MARK) == BACKGROUND:
        enter_background()
