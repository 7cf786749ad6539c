"""Processes of this machine: who they are, whether they live, how they end.

A pid alone names nobody, since the kernel gives it to others later: a process is its pid and its start mark.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import psutil

_HAS_PROC = Path("/proc/self/stat").exists()
_POLL_S = 0.01
_KILL_PATIENCE_S = 5.0


class ProcessMark(msgspec.Struct, frozen=True):
    """One process of the past or present, told apart from later owners of its pid by ``mark``."""

    name: str
    pid: int
    mark: str


def start_mark(pid: int) -> str:
    """Return what no other process with this pid ever has, or "" when there is no such living process.

    On Linux the boot's id and the start in clock ticks since that boot: a wall clock that jumps changes neither.
    """
    try:
        if _HAS_PROC:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            return "" if fields[0] in "ZX" else f"{boot}:{fields[19]}"
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except (OSError, psutil.Error):
        return ""


def mark_process(name: str, pid: int) -> ProcessMark:
    """Return the mark of the process that has ``pid`` now."""
    return ProcessMark(name, pid, start_mark(pid))


def is_alive(process: ProcessMark) -> bool:
    """Return whether this very process, not a later owner of its pid, is running."""
    return bool(process.mark) and start_mark(process.pid) == process.mark


def children() -> list[ProcessMark]:
    """Return the processes this one started that live, named after their scripts or programs."""
    return [mark for mark in map(_named, psutil.Process().children()) if mark.mark]


def descendants(roots: Iterable[ProcessMark]) -> list[ProcessMark]:
    """Return everything alive that living ``roots`` started, directly or through others."""
    found: dict[int, ProcessMark] = {}
    for root in roots:
        with contextlib.suppress(psutil.Error):
            if is_alive(root):
                for child in psutil.Process(root.pid).children(recursive=True):
                    found[child.pid] = mark_process("descendant", child.pid)
    return [mark for mark in found.values() if mark.mark]


def belongs_to(command: Sequence[str], package: str, directory: str) -> bool:
    """Return whether a command line runs a file of ``package`` that was given ``directory``, or a path in it, as an option.

    A pager on a log file in there is not: the program must be the package's, the path an option's value.
    """
    inside = directory.rstrip(os.sep) + os.sep
    programs = [word for word in command[:4] if not word.startswith("-") and inside not in word]
    is_program = any(f"{os.sep}{package}{os.sep}" in word for word in programs)
    return is_program and any(word.startswith("--") and inside in word + os.sep for word in command)


def strays(package: str, directory: Path) -> list[ProcessMark]:
    """Return this user's processes that run ``package`` in ``directory``, recorded or not: a start may be cut short."""
    user = os.getuid()
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.uids().real == user and belongs_to(process.cmdline(), package, str(directory)):
                found.append(_named(process))
    return [mark for mark in found if mark.mark]


def end(processes: Iterable[ProcessMark], patience_s: float) -> list[ProcessMark]:
    """Ask ``processes`` to end, kill those that have not within ``patience_s``; return what still lives (should be none).

    A process is signalled only while its mark holds. A zombie counts as ended: its parent may be slow to reap it.
    """
    targets = list({process.pid: process for process in processes}.values())
    _signal(targets, signal.SIGTERM)
    stubborn = await_end(targets, patience_s)
    _signal(stubborn, signal.SIGKILL)
    return await_end(stubborn, _KILL_PATIENCE_S)


def await_end(processes: Iterable[ProcessMark], patience_s: float) -> list[ProcessMark]:
    """Return those of ``processes`` that still live once all have ended or ``patience_s`` has passed."""
    limit = time.monotonic() + patience_s
    while True:
        living = [process for process in processes if is_alive(process)]
        if not living or time.monotonic() > limit:
            return living
        time.sleep(_POLL_S)


def _named(process: psutil.Process) -> ProcessMark:
    """Return the mark of a process named after the Python script it runs, or its program."""
    with contextlib.suppress(psutil.Error):
        words = process.cmdline()
        script = next((word for word in words[1:4] if word.endswith(".py")), words[0] if words else "")
        return mark_process(Path(script).name, process.pid)
    return ProcessMark("", process.pid, "")


def _signal(processes: Iterable[ProcessMark], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if is_alive(process):
                os.kill(process.pid, number)
