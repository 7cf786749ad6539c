"""Machines for tests: network namespaces behind a router where the kernel and the user allow, else this machine under several homes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parents[2]
_BIN = Path(sys.executable).parent
_STRANGE = ("RAY_", "TORI_")


class Machine:
    """One computer: its address, its home, and how a command is run on it."""

    def __init__(self, name: str, ip: str, prefix: Sequence[str], home: Path) -> None:
        self.name = name
        self.ip = ip
        self.home = home
        self.log = home.with_suffix(".log")
        self._prefix = list(prefix)
        home.mkdir(parents=True)

    def environment(self, **more: str) -> dict[str, str]:
        known = {k: v for k, v in os.environ.items() if not k.startswith(_STRANGE)}
        paths = {"PATH": f"{_BIN}{os.pathsep}{known.get('PATH', '')}", "TORI_HOME": str(self.home)}
        return known | paths | more

    def start(self, *command: str, **more: str) -> subprocess.Popen[bytes]:
        """Begin a command here; what it says goes to the machine's log."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*self._prefix, *command],
                cwd=ROOT,
                env=self.environment(**more),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def run(self, *command: str, timeout_s: float = 120, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command here to its end."""
        return subprocess.run(
            [*self._prefix, *command],
            cwd=ROOT,
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def driver(self, **more: str) -> Driver:
        """Start a process here that is connected to the system and does what it is told."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*self._prefix, sys.executable, "-m", "tests.cluster.driver"],
                cwd=ROOT,
                env=self.environment(**more),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        return Driver(process)


class Driver:
    """A client of the system in another process: calls of ``RayClient`` by name, answers as plain values."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Return the answer, or raise RuntimeError with the name and text of the error there."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode([method, arguments, named]) + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the driver is gone; its machine's log says why")
        error, answer = msgspec.json.decode(line)
        if error:
            raise RuntimeError(error)
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Network:
    """Namespaces, each behind one router; or, where that is not allowed, nothing but the loopback interface."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._router = f"tori-r{os.getpid()}"
        self._made: list[str] = []
        self.has_namespaces = os.geteuid() == 0 and shutil.which("ip") is not None and self._make_router()

    def _make_router(self) -> bool:
        if _ip("netns", "add", self._router, check=False).returncode != 0:
            return False
        self._made.append(self._router)
        _ip("-n", self._router, "link", "set", "lo", "up")
        _ip("netns", "exec", self._router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        return True

    def machine(self, name: str) -> Machine:
        """Return a new machine that reaches all others."""
        home = self._root / name
        if not self.has_namespaces:
            return Machine(name, "127.0.0.1", (), home)
        number = len(self._made)
        space, near, far = f"tori-{name}{os.getpid()}", f"t{number}n", f"t{number}f"
        ip, gateway = f"10.213.{number}.2", f"10.213.{number}.1"
        _ip("netns", "add", space)
        self._made.append(space)
        _ip("link", "add", near, "netns", space, "type", "veth", "peer", "name", far, "netns", self._router)
        for where, device, address in ((space, near, ip), (self._router, far, gateway)):
            _ip("-n", where, "addr", "add", f"{address}/24", "dev", device)
            _ip("-n", where, "link", "set", device, "up")
        _ip("-n", space, "link", "set", "lo", "up")
        _ip("-n", space, "route", "add", "default", "via", gateway)
        return Machine(name, ip, ("ip", "netns", "exec", space), home)

    @property
    def bounds_pauses(self) -> bool:
        """Whether the kernel knows how to bound TCP's pauses (Linux 6.15), as deploy/ray asks it to in every namespace."""
        return self.has_namespaces and Path("/proc/sys/net/ipv4/tcp_rto_max_ms").exists()

    def partition(self, machine: Machine) -> None:
        """Let the router swallow every packet from and to a machine."""
        for way in ("from", "to"):
            _ip("-n", self._router, "rule", "add", way, machine.ip, "type", "blackhole", "priority", "10")

    def heal(self) -> None:
        """Let packets through again."""
        while _ip("-n", self._router, "rule", "del", "priority", "10", check=False).returncode == 0:
            pass

    def close(self) -> None:
        for space in reversed(self._made):
            _ip("netns", "del", space, check=False)


def _ip(*words: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ip", *words], check=check, capture_output=True)


def wait_for(condition: Any, timeout_s: float, what: str) -> float:
    """Return after how many seconds ``condition()`` became true; raises AssertionError when it does not in time."""
    begun = time.monotonic()
    while True:
        if condition():
            return time.monotonic() - begun
        assert time.monotonic() - begun < timeout_s, f"not in {timeout_s:g} s: {what}"
        time.sleep(0.1)


def open_files(homes: Mapping[str, Path]) -> dict[str, dict[int, set[str]]]:
    """Return by machine, and by pid of its processes (those whose TORI_HOME is its home), the homes they have files of open."""
    found: dict[str, dict[int, set[str]]] = {name: {} for name in homes}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            paths = [os.readlink(fd) for fd in (process / "fd").iterdir()]
            paths += [line.split(maxsplit=5)[-1] for line in (process / "maps").read_text().splitlines()]
        except OSError:
            continue
        for name, home in homes.items():
            if f"TORI_HOME={home}".encode() in environment:
                used = {other for other, h in homes.items() if any(p.startswith(f"{h}/") for p in paths)}
                found[name][int(process.name)] = used
    return found
