"""Processes are told apart by pid and start mark; only Ray's own are taken for strays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tori.resources.process import ProcessMark, await_end, belongs_to, is_alive, mark_process, start_mark, strays

RAY = "/venv/lib/python3.12/site-packages/ray"
SESSION = "/home/ann/.tori/ray/session_2026-01-01_10-00-00_000001_77"


def test_a_mark_names_this_process_and_no_later_owner_of_its_pid() -> None:
    me = mark_process("me", os.getpid())
    assert is_alive(me)
    assert me == mark_process("me", os.getpid())
    assert not is_alive(ProcessMark("me", os.getpid(), "another boot:1"))
    assert not is_alive(ProcessMark("nobody", os.getpid(), ""))


def test_no_process_has_no_mark() -> None:
    assert start_mark(2**22 + 1) == ""


def test_waiting_returns_who_is_left() -> None:
    me = mark_process("me", os.getpid())
    assert await_end([me], patience_s=0.0) == [me]


@pytest.mark.parametrize(
    ("command", "is_ours"),
    [
        ([f"{RAY}/core/src/ray/gcs/gcs_server", f"--log_dir={SESSION}/logs"], True),
        ([f"{RAY}/core/src/ray/raylet/raylet", f"--raylet_socket_name={SESSION}/sockets/raylet"], True),
        (["/venv/bin/python", f"{RAY}/dashboard/dashboard.py", f"--session-dir={SESSION}"], True),
        ([f"{RAY}/core/src/ray/gcs/gcs_server", f"--log_dir={SESSION}8/logs"], False),
        (["tail", "-f", f"{SESSION}/logs/raylet.out"], False),
        (["tail", f"--follow={SESSION}/logs/raylet.out"], False),
        (["vim", f"{RAY}/core/x.py", f"{SESSION}/logs/raylet.out"], False),
        ([], False),
    ],
)
def test_only_ray_programs_given_the_directory_as_an_option_belong_to_it(command: list[str], is_ours: bool) -> None:
    assert belongs_to(command, "ray", SESSION) is is_ours


def test_nobody_strays_in_an_unused_directory(tmp_path: Path) -> None:
    assert strays("ray", tmp_path) == []
