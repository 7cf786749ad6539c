"""Time slices: how long a thread computes before another's turn, and with it how soon it gets its own.

Since Linux 6.12 a thread may ask for another slice than the kernel's (some 3 ms): who asks for a short one is let in at once when it wakes,
whoever computes, and computes not more in all. Needs no privileges. Earlier kernels and other systems have nothing of the kind.
Source: sched_setattr(2); the kernel's Documentation/scheduler/sched-eevdf.rst.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from pathlib import Path

SHORT_SLICE_NS = 1_000_000
"""Shorter than the kernel's own. With a tenth of it events beside background work come no sooner, and the bus, whose threads then take
turns all the time, carries 40 % less (docs/measurements.md)."""
_CALLS = {"x86_64": (314, 315), "aarch64": (274, 275)}
"""Numbers of sched_setattr and sched_getattr by machine; the C library has no functions for them before glibc 2.41."""
_ATTRIBUTES = struct.Struct("IIQiIQQQ")
"""size, policy, flags, nice, priority, runtime (the slice), deadline, period."""
_TASKS = Path("/proc/self/task")


def shorten_slices() -> int:
    """Ask for short slices for every ordinary thread of this process, and so for those they start; return for how many."""
    calls = _CALLS.get(platform.machine())
    if calls is None or not _TASKS.exists():
        return 0
    library = ctypes.CDLL(None, use_errno=True)
    return sum(_shorten(library, *calls, int(task.name)) for task in _TASKS.iterdir())


def _shorten(library: ctypes.CDLL, set_call: int, get_call: int, thread: int) -> bool:
    attributes = ctypes.create_string_buffer(_ATTRIBUTES.size)
    if library.syscall(get_call, thread, attributes, _ATTRIBUTES.size, 0):
        return False  # it has ended, or the kernel has no such call
    size, policy, flags, nice, priority, *_ = _ATTRIBUTES.unpack(attributes.raw)
    if policy != os.SCHED_OTHER:
        return False
    wanted = _ATTRIBUTES.pack(size, policy, flags, nice, priority, SHORT_SLICE_NS, 0, 0)
    return bool(library.syscall(set_call, thread, wanted, 0) == 0)
