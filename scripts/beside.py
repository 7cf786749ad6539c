"""Run a command with the processor time that nobody else wants: ``beside.py COMMAND ARGUMENT...``.

It gets a session of its own, because Linux shares the processor between sessions before it looks at priorities, and ends with
who started it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
LEAST = 19


def main(command: list[str]) -> None:
    """Become the command; raises OSError when there is none of that name."""
    os.setsid()
    with contextlib.suppress(OSError):  # a kernel without sessions in its scheduler
        Path("/proc/self/autogroup").write_text(str(LEAST))
    os.setpriority(os.PRIO_PROCESS, 0, LEAST)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
