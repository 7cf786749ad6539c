"""What a piece of work prints is passed on: by print and logging, by what it starts, in parts, to the last word; and never in its way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tori.resources import output

ROOT = Path(__file__).resolve().parents[2]
HEAD = """
import logging, os, subprocess, sys, time
from tori.resources import output
from tori.resources.output import printed
parts = []
output.PASS_EVERY_S = 0.05
def told():
    sys.stderr.write(b"".join(parts).decode())
"""


def run(code: str) -> tuple[int, str, str]:
    """Run a worker; return its exit code, what went where output goes, and what it says it was passed (on stderr)."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_print_logging_children_and_the_trace_of_an_error_are_heard_and_go_on_to_where_they_went() -> None:
    code, out, said = run("""
print("before")
try:
    with printed(parts.append):
        print("printed")
        logging.warning("logged")
        subprocess.run(["sh", "-c", "echo by a child; echo and its errors >&2"])
        raise ValueError("broken")
except ValueError:
    pass
print("after")
told()
""")
    assert code == 0
    lines = said.splitlines()
    assert lines[:4] == ["printed", "WARNING:root:logged", "by a child", "and its errors"]
    assert lines[4].startswith("Traceback")
    assert lines[-1] == "ValueError: broken"
    assert out.splitlines() == ["before", *lines, "after"]


def test_it_is_passed_on_while_the_work_goes_on_and_first_of_all_that_it_began() -> None:
    assert (
        run("""
with printed(parts.append):
    print("one")
    print("half a li", end="", flush=True)
    while b"one" not in b"".join(parts):
        time.sleep(0.01)
    assert parts[0] == b"", parts
    print("ne")
told()
""")[2]
        == "one\nhalf a line\n"
    )


def test_of_too_much_the_end_is_passed_on_and_its_memory_is_given_back() -> None:
    code, _, said = run("""
output.PART_BYTES = 1000
output.PASS_EVERY_S = 3600
with printed(parts.append):
    for number in range(10_000):
        print(number)
told()
""")
    assert code == 0, said
    assert said.startswith("\n[47890 bytes left out]\n")
    assert said.endswith("9999\n")
    code, _, said = run("""
with printed(parts.append):
    for number in range(4):
        os.write(1, bytes(1 << 20))
        while sum(map(len, parts)) < 200_000 * (number + 1):
            time.sleep(0.01)
    time.sleep(0.2)
    blocks = os.fstat(1).st_blocks * 512
    size = os.fstat(1).st_size
assert (size, blocks < 100_000) == (4 << 20, True), (size, blocks)
""")
    assert code == 0, said


def test_a_part_that_nobody_takes_is_left_out_and_nothing_fails() -> None:
    assert (
        run("""
def refuse_first(data):
    parts.append(data)
    if data == b"lost\\n":
        parts.pop()
        raise OSError("nobody there")
with printed(refuse_first):
    print("lost")
    time.sleep(0.3)
    print("found")
told()
""")[2]
        == "\n[5 bytes left out]\nfound\n"
    )


def test_work_that_cannot_be_heard_is_done_all_the_same() -> None:
    code, out, said = run("""
def none(*_):
    raise OSError("no memory")
os.memfd_create = none
with printed(parts.append):
    print("done")
told()
""")
    assert (code, out, said) == (0, "done\n", "")


def test_a_program_that_the_work_left_behind_fills_no_memory() -> None:
    code, _, said = run("""
late = "import os; input(); os.write(1, bytes(1 << 20))"
with printed(parts.append):
    left = subprocess.Popen([sys.executable, "-c", late], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    print("the end")
held = os.stat(f"/proc/{left.pid}/fd/1")
assert (held.st_size, held.st_blocks) == (0, 0), held
said = left.communicate(b"go on\\n")[1]
assert b"PermissionError" in said, said
told()
""")
    assert (code, said) == (0, "the end\n")


def test_a_failure_to_pass_it_on_is_not_the_work_s_and_nothing_stays_open() -> None:
    code, _, said = run("""
def fail(*_):
    raise kind("no memory")
count = len(os.listdir("/proc/self/fd"))
pread = os.pread
for kind in (OSError, MemoryError, ZeroDivisionError):
    os.pread = fail
    with printed(parts.append):
        print("x")
        time.sleep(0.2)
        os.pread = pread
        time.sleep(0.2)
with printed(parts.append):
    os.closerange(3, 100)
output.threading.Thread.start = fail
kind = RuntimeError
with printed(parts.append):
    print("unheard")
assert len(os.listdir("/proc/self/fd")) == count, os.listdir("/proc/self/fd")
""")
    assert code == 0, said


def test_who_does_not_answer_holds_the_work_up_for_a_bounded_time() -> None:
    assert (
        run("""
output.LAST_S = 0.2
with printed(lambda data: time.sleep(600)):
    print("x")
os._exit(0)
""")[0]
        == 0
    )


def test_elsewhere_it_is_a_temporary_file() -> None:
    assert (
        run("""
del os.memfd_create
with printed(parts.append):
    print("heard")
told()
""")[2]
        == "heard\n"
    )


def test_only_a_file_of_its_own_is_emptied(tmp_path: Path) -> None:
    with (tmp_path / "another").open("wb+", buffering=0) as file:
        file.write(b"kept")
        output._empty(file.fileno())
        assert os.fstat(file.fileno()).st_size == 4
