"""Worker processes of background work: their own, at idle CPU priority for good.

A process without privileges that has gone to idle priority, and to a session of its own, cannot come back, so these workers are never
given to anybody else: Ray hands a worker only to tasks of the same runtime environment, and theirs has a mark. Whatever a task starts
itself inherits both.

They are also gone as soon as they are asked to go. When an orchestrator dies, Ray asks the workers of its attempts (SIGTERM) and kills
them 5 s later; its own handler raises SystemExit in what they do, and a call into C or a ``finally`` goes on. The next orchestrator is
back sooner, and begins the next attempt. What they started themselves is ended by Ray with their process group
(``RAY_process_group_cleanup_enabled``, which ``tori up`` sets).

Ray cancels a task as Ctrl-C would, and a shell tells what it starts with ``&`` to ignore that, and so what that starts: a task would go
on until it is killed, 10 s later. Here it is heard again, whoever started the cluster.
"""

from __future__ import annotations

import os
import signal
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
    """In a worker that is for background work: go to idle priority, hear cancellations, die at once when asked to end. Elsewhere nothing.

    Only a process's main thread may say so, which is where Ray runs a task.
    """
    if os.environ.get(MARK) != BACKGROUND:
        return
    # the kernel's: no line of Python runs any more, nor does the call it is in return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not is_background():
        leave_session()
        enter_background()
