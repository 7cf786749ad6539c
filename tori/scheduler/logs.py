"""What runs have printed: a bounded file for each attempt, and a bounded number of them."""

from __future__ import annotations

import logging
import os
import re
import threading
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote

from tori.resources.output import left_out

FOLDER = "logs/runs"
MAX_BYTES = 1 << 20
"""Of one attempt; beyond, its middle is left out."""
HEAD_BYTES, TAIL_BYTES = MAX_BYTES // 4, MAX_BYTES // 2
"""What is kept of its beginning and of its end then."""
KEPT_FILES, KEPT_BYTES = 1000, 64 << 20
"""Of all runs; the oldest go first."""
NAME_BYTES = 150
_LEFT_OUT = re.compile(rb"\n\[(\d+) bytes left out\]\n")


class RunLogs:
    """The logs of one home. Safe to use from several threads. Nothing here is durable, and a full disk costs lines and no run."""

    def __init__(self, home: Path) -> None:
        self.folder = home / FOLDER
        self._lock = threading.Lock()
        self._is_failing = False

    def add(self, run_id: str, attempt: int, data: bytes) -> None:
        """Append to the log of an attempt."""
        path = self.folder / f"{_name(run_id)}.{attempt}.log"
        with self._lock:
            try:
                self._append(path, data)
                self._is_failing = False
            except OSError as error:
                if not self._is_failing:
                    logging.getLogger("tori.logs").warning("the log of run %s is not kept: %s", run_id, error)
                self._is_failing = True

    def _append(self, path: Path, data: bytes) -> None:
        is_new = not path.exists()
        if is_new:
            self.folder.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(data)
            size = file.tell()
        if size > MAX_BYTES:
            _shorten(path)
        if is_new:
            self._remove_old()

    def _remove_old(self) -> None:
        """Keep the files that were written to last."""
        found = sorted(
            ((entry.stat(), entry.path) for entry in os.scandir(self.folder)), key=lambda one: -one[0].st_mtime_ns
        )
        size = 0
        for number, (stat, path) in enumerate(found):
            size += stat.st_size
            if number >= KEPT_FILES or size > KEPT_BYTES:
                os.unlink(path)

    def read(self, run_id: str) -> list[tuple[int, str]]:
        """Return (attempt, what it printed) of the attempts that printed something, oldest first; none for a run nobody has heard of."""
        prefix, found = f"{_name(run_id)}.", []
        with self._lock:
            for path in self.folder.glob(f"{prefix}*.log"):
                attempt = path.name[len(prefix) : -len(".log")]
                if attempt.isdecimal():
                    found.append((int(attempt), path.read_bytes().decode(errors="replace")))
        return sorted(found)


def _shorten(path: Path) -> None:
    """Leave the middle of a log out, and say how much that is, with what was left out of it before."""
    data = path.read_bytes()
    head, rest, before = data[:HEAD_BYTES], data[HEAD_BYTES:], 0
    earlier = _LEFT_OUT.match(rest)
    if earlier is not None:
        before, rest = int(earlier[1]), rest[earlier.end() :]
    tail = rest[-TAIL_BYTES:]
    made = path.with_suffix(".new")
    made.write_bytes(head + left_out(before + len(rest) - len(tail)) + tail)
    made.replace(path)


def _name(run_id: str) -> str:
    """Return a run's id as the name of a file: whatever stands in it, and however long it is."""
    name = quote(run_id, safe="")
    return (
        name
        if len(name) <= NAME_BYTES
        else f"{name[:NAME_BYTES]}-{blake2b(run_id.encode(), digest_size=8).hexdigest()}"
    )
