"""A task that no two processes may do for one run at once: each attempt holds the run's lock, and says when it began and ended.

The kernel frees a lock with the death of its process, so who finds it taken has another one beside it that lives and works.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from hashlib import blake2b
from pathlib import Path

from tori.scheduler.retry import RetryPolicy
from tori.scheduler.spec import Overlap, Resources
from tori.scheduler.user import TaskRun, task

TASK = "exclusive"
WHERE = "TORI_EXCLUSIVE"
"""The variable that says ``shortest:longest:folder``: seconds an attempt takes, and where locks and lines are written."""
LOCKS, LINES, TWICE = "locks", "lines", "twice"
"""In the folder: a lock a run, what began and ended, and what found its run's lock taken."""
BEGUN, ENDED = "begun", "ended"
STEP_S = 0.1
MOST_LOSSES = 1000
"""A campaign kills oftener than its longest runs end, so one of them may live through all of its deaths; none may cost a try."""


@task(
    task_id=TASK,
    resources=Resources(num_cpus=0.002),
    overlap=Overlap.ALLOW,
    max_at_once=1000,
    max_queued=1000,
    timeout_s=3600.0,
    retry=RetryPolicy(retries=0, losses=MOST_LOSSES, first_backoff_s=0.05, max_backoff_s=0.5),
)
def exclusive(run: TaskRun) -> None:
    """Take as long as the run's id says, alone."""
    shortest, longest, folder = os.environ[WHERE].split(":", 2)
    digest = blake2b(run.run_id.encode(), digest_size=4).digest()
    seconds = float(shortest) + int.from_bytes(digest, "big") / 2**32 * (float(longest) - float(shortest))
    hold(Path(folder), run.run_id, run.attempt, seconds, is_deaf=bool(digest[-1] & 1), has_child=bool(digest[-1] & 2))


def hold(
    folder: Path, run_id: str, attempt: int, seconds: float, *, is_deaf: bool = False, has_child: bool = False
) -> None:
    """Hold a run's lock for so long, and say so; raises BlockingIOError, and says that too, when somebody has it.

    ``is_deaf``: go on when asked to leave, like a call into C, or one that must clean up first. ``has_child``: a process that it starts
    holds the lock too, for as long as it lives.
    """
    with (folder / LOCKS / run_id).open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(folder / TWICE, BEGUN, run_id, attempt)
            raise
        _say(folder / LINES, BEGUN, run_id, attempt)
        child = subprocess.Popen(["sleep", str(seconds)], pass_fds=[lock.fileno()]) if has_child else None
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                time.sleep(min(STEP_S, left))
            except SystemExit:
                if not is_deaf:
                    raise
        if child is not None:
            child.wait()
        _say(folder / LINES, ENDED, run_id, attempt)


def _say(path: Path, what: str, run_id: str, attempt: int) -> None:
    """Append a line in one write, so that lines of many processes never mix."""
    line = f"{what} {run_id} {attempt} {os.getpid()} {time.monotonic_ns()}\n"
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)
