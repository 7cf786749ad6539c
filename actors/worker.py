"""Worker processes of background work: their own, at idle CPU priority for good.

A process without privileges that has gone to idle priority, and to a session of its own, cannot come back, so these workers are never
given to anybody else: Ray hands a worker only to tasks of the same runtime environment, and theirs has a mark. Whatever a task starts
itself inherits both.
"""

from __future__ import annotations

import os
from typing import Any

from tori.resources.background import enter_background, is_background, leave_session

MARK, BACKGROUND, CODE = "TORI_WORKER", "background", "TORI_CODE"


def background_environment(code: str = "") -> dict[str, Any]:
    """Return the runtime environment of a Ray task that is background work; ``code``: as ``code_environment`` says."""
    return {"env_vars": {MARK: BACKGROUND, **code_environment(code)}}


def code_environment(code: str) -> dict[str, str]:
    """Return what keeps processes of one code apart from those of another: Ray reuses workers, and what they imported.

    Empty = the code that was there when the cluster started, which every worker has.
    """
    return {CODE: code} if code else {}


def begin_work() -> None:
    """Go to idle priority, in a worker that is for background work; elsewhere nothing happens."""
    if os.environ.get(MARK) == BACKGROUND and not is_background():
        leave_session()
        enter_background()
