"""Builds of TORI that break one promise each: what the checker must catch to be worth anything.

A build is made while it is imported, in a process of its own: the loader replaces a few lines of a module's source. No hook for
this stands in the product, and a patch whose target is gone fails the import, so it cannot rot silently.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
CLEAN = "clean"


class Patch(NamedTuple):
    """One replacement in the source of a module; ``old`` must stand there exactly once."""

    module: str
    old: str
    new: str

    def apply(self, source: str) -> str:
        count = source.count(self.old)
        if count != 1:
            raise ImportError(f"{self.old!r} stands {count} times in {self.module}: the sabotage must be written anew.")
        return source.replace(self.old, self.new)


SABOTAGES: dict[str, tuple[Patch, ...]] = {
    "ack_before_fsync": (
        Patch("tori.journal.writer", "                    one.fdatasync()\n", "                    pass\n"),
    ),
    "skip_crc": (
        Patch(
            "tori.journal.reader",
            "if len(body) != header.body_bytes or zlib.crc32(body) != header.body_crc:",
            "if False:",
        ),
        Patch("tori.journal.recovery", " or zlib.crc32(body) != header.body_crc:", ":"),
    ),
    "no_fence": (
        Patch("tori.journal.writer", "if self._epoch_words.words[0] != self.epoch:", "if False:"),
        Patch(
            "tori.journal.files", "            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n", "            pass\n"
        ),
    ),
    "no_dedupe": (
        Patch(
            "tori.modules.clients",
            "if taken.get(document.id, self._content(document.id)) == content:",
            "if False:",
        ),
    ),
    "cursor_before_effect": (
        Patch(
            "tori.modules.host",
            "        ticket = self.journal.append(frames)\n        self.is_torn = True\n        self.journal.commit(ticket.end)\n",
            "        for one in reversed(frames):\n            self.journal.commit(self.journal.append([one]).end)\n",
        ),
    ),
    "read_undurable": (
        Patch(
            "tori.journal.reader",
            'words.DURABLE_OFFSET if visibility == "durable" else words.WRITTEN_OFFSET',
            "words.WRITTEN_OFFSET",
        ),
    ),
}

REDUNDANT: dict[str, tuple[Patch, ...]] = {
    "no_lock": (
        Patch(
            "tori.journal.files", "            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n", "            pass\n"
        ),
    ),
}
"""Builds that lose one of two lines of defence: the other must hold alone, so the checker must find nothing."""


def install(build: str) -> None:
    """Make this process import the sabotaged build; call it before anything of the product is imported."""
    if build == CLEAN:
        return
    patches = (SABOTAGES | REDUNDANT)[build]
    loaded = [patch.module for patch in patches if patch.module in sys.modules]
    if loaded:
        raise ImportError(f"{loaded} were imported before they could be sabotaged.")
    sys.meta_path.insert(0, _Finder(patches))


def target(patch: Patch) -> str:
    """Return the source that a patch changes."""
    return (ROOT / Path(*patch.module.split("."))).with_suffix(".py").read_text(encoding="utf-8")


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles the patched source; never reads or writes bytecode."""

    def __init__(self, name: str, path: str, patches: Sequence[Patch]) -> None:
        super().__init__(name, path)
        self._patches = patches

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        source = self.get_data(path).decode()
        for patch in self._patches:
            source = patch.apply(source)
        return compile(source, path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, patches: Sequence[Patch]) -> None:
        self._patches = patches

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        patches = [patch for patch in self._patches if patch.module == fullname]
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target) if patches else None
        if spec is None or spec.origin is None:
            return None
        return importlib.util.spec_from_file_location(
            fullname, spec.origin, loader=_Loader(fullname, spec.origin, patches)
        )
