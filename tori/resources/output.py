"""What a piece of work prints, passed on in parts while it works.

It is taken where the kernel has it, at the descriptors 1 and 2, so that programs which the work starts are heard as well as ``print`` and
``logging``. They write into a file in memory: no disk can be full there, and nobody waits for a reader, as at a pipe. A thread reads it
every ``PASS_EVERY_S``, passes it on, writes it to where it would have gone too, and gives its memory back. When the work has ended the
file is sealed: a program that it left behind is refused what it prints from then on, where it would fill memory that nobody reads.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator

PASS_EVERY_S = 0.5
"""What a work that is killed may have printed in vain."""
PART_BYTES = 256 * 1024
"""Most of what is passed on at a time: of more the end, with a word of what was left out."""
LAST_S = 10.0
"""Longest a work that has ended waits for its last part to be taken."""
_KEEP_SIZE_AND_PUNCH_HOLE = 0x01 | 0x02
Take = Callable[[bytes], None]


def left_out(count: int) -> bytes:
    """Return what stands in a log in the place of bytes that were left out."""
    return b"\n[%d bytes left out]\n" % count


@contextlib.contextmanager
def printed(take: Take) -> Iterator[None]:
    """Pass on to ``take`` whatever this process and its children print inside, and the trace of an error that leaves it.

    ``take`` is called by a thread of its own, first with nothing: it has begun. A part that it does not take, raising, is left out. Where
    nothing can be set up for it the work goes on unheard.
    """
    try:
        heard = _Heard(take)
    except (OSError, RuntimeError):  # no descriptor, no memory, no thread
        yield
        return
    try:
        yield
    except Exception as error:
        with contextlib.suppress(Exception):
            traceback.print_exception(error, file=sys.stderr)
        raise
    finally:
        heard.end()


class _Heard:
    """The output of one piece of work; one at a time in a process."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._ended = threading.Event()
        self._at = 0
        self._lost = 0
        self._is_left = False
        self._lock = threading.Lock()
        with contextlib.ExitStack() as opened:
            self._file = _opened(opened, _memory_file())
            self._before = _opened(opened, os.dup(1)), _opened(opened, os.dup(2))
            self._thread = threading.Thread(target=self._run, name="tori-output", daemon=True)
            self._thread.start()
            self._opened = opened.pop_all()
        _flush()
        for descriptor in (1, 2):
            os.dup2(self._file, descriptor)

    def end(self) -> None:
        """Let the output go where it went before; return when the last part was taken, or nobody takes it."""
        _flush()
        has_said = False
        with contextlib.suppress(OSError):  # the work closed descriptors that are not its own
            for before, descriptor in zip(self._before, (1, 2), strict=True):
                os.dup2(before, descriptor)
            _seal(self._file)
            has_said = os.fstat(self._file).st_size > 0
        self._ended.set()
        if has_said:
            self._thread.join(LAST_S)
        self._leave()

    def _run(self) -> None:
        try:
            with contextlib.suppress(Exception):
                self._take(b"")
            while not self._ended.wait(PASS_EVERY_S):
                with contextlib.suppress(OSError, MemoryError):  # the next time, perhaps
                    self._pass(is_last=False)
            with contextlib.suppress(OSError, MemoryError):
                self._pass(is_last=True)
        finally:
            self._leave()

    def _leave(self) -> None:
        """Close everything, whoever comes last: the thread may wait for its taker when the work has ended, or be gone before that."""
        with self._lock:
            is_first, self._is_left = not self._is_left, True
        if is_first:
            return
        _empty(self._file)
        self._opened.close()

    def _pass(self, *, is_last: bool) -> None:
        """Pass on what has come; whole lines where there are any, as others may write into the same log."""
        size = os.fstat(self._file).st_size
        start = max(self._at, size - PART_BYTES)
        data = os.pread(self._file, size - start, start)
        self._lost += start - self._at
        if not is_last:
            data = data[: data.rfind(b"\n") + 1] or data
        self._at = start + len(data)
        if not data:
            return
        with contextlib.suppress(OSError):
            os.write(self._before[0], data)
        _give_back(self._file, self._at)
        try:
            self._take((left_out(self._lost) if self._lost else b"") + data)
            self._lost = 0
        except Exception:  # whatever keeps it: the work is not harmed by it
            self._lost += len(data)


def _opened(stack: contextlib.ExitStack, descriptor: int) -> int:
    stack.callback(_close, descriptor)
    return descriptor


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # a stream that the work closed, or put in its place
            stream.flush()


def _memory_file() -> int:
    """Return a file in memory, to which everybody appends; elsewhere than on Linux a temporary one."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("tori-output", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)
    return descriptor


def _seal(descriptor: int) -> None:
    """Let nobody add to the file any more, whoever has it open: a write fails with EPERM. A temporary file cannot be sealed."""
    if hasattr(fcntl, "F_ADD_SEALS"):
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)


def _empty(descriptor: int) -> None:
    """Free the memory of a file that is sealed, which others may have open; one that is not may be another's by now."""
    if hasattr(fcntl, "F_GET_SEALS"):
        with contextlib.suppress(OSError):
            if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_GROW:
                os.ftruncate(descriptor, 0)


def _give_back(descriptor: int, until: int) -> None:
    """Free the memory of the first ``until`` bytes; the places of the others stay. Where that cannot be, it is kept to the end."""
    fallocate = getattr(ctypes.CDLL(None), "fallocate", None)
    if fallocate is not None:
        fallocate(descriptor, _KEEP_SIZE_AND_PUNCH_HOLE, ctypes.c_int64(0), ctypes.c_int64(until))
