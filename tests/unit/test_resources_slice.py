"""Short slices: asked for where the kernel has them, for every thread, and nothing else about a thread changes."""

from __future__ import annotations

import os
import platform
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tori.resources import slice as slices

SAYS = """
import ctypes, os, struct, threading
from tori.resources.slice import shorten_slices, _CALLS, _ATTRIBUTES
import platform
library, get = ctypes.CDLL(None), _CALLS[platform.machine()][1]
def look(thread):
    found = ctypes.create_string_buffer(48)
    assert library.syscall(get, thread, found, 48, 0) == 0
    _, policy, _, nice, _, runtime, _, _ = _ATTRIBUTES.unpack(found.raw)
    return policy, nice, runtime
os.nice(3)
end, ids = threading.Event(), []
def work():
    ids.append(threading.get_native_id())
    if len(ids) == 2:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    end.wait()
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
while len(ids) < 2 or look(ids[1])[0] != os.SCHED_IDLE:
    pass
print(shorten_slices())
print(*look(0))
print(*look(ids[0]))
print(*look(ids[1]))
end.set()
"""
needs_kernel = pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.machine() not in slices._CALLS,
    reason="Linux on x86-64 or ARM only",
)


@needs_kernel
def test_every_ordinary_thread_has_one_and_keeps_the_rest() -> None:
    said = subprocess.run([sys.executable, "-c", SAYS], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[0] == "2", "the idle thread stays what it is"
    if tuple(int(part) for part in platform.release().split(".")[:2]) >= (6, 12):
        assert [line.split() for line in said[1:3]] == [["0", "3", str(slices.SHORT_SLICE_NS)]] * 2
    assert said[3].split()[:2] == [str(os.SCHED_IDLE), "3"]


def test_on_other_machines_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert slices.shorten_slices() == 0


@needs_kernel
def test_a_thread_that_has_ended_and_a_kernel_without_the_call_count_for_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "4194305").mkdir()  # no thread ever has it
    monkeypatch.setattr(slices, "_TASKS", tmp_path)
    assert slices.shorten_slices() == 0
    assert slices._ATTRIBUTES.size == struct.calcsize("IIQiIQQQ") == 48
