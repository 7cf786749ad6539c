"""The code of a module as files: what a reload watches, and by which name two versions of it are told apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from tori.errors import BadInput
from tori.modules.registry import PATHS

VERSION_DIGITS = 12


def source_files(name: str) -> tuple[Path, ...]:
    """Return the Python files of a module's own package, or its one file; raises BadInput for an unknown module.

    What several modules share is not among them: a reload brings that too, and does not happen for its sake.
    """
    path = PATHS.get(name)
    if path is None:
        raise BadInput(f"there is no module {name!r}.", remedy=f"Modules: {', '.join(PATHS)}.")
    spec = find_spec(path.partition(":")[0])
    if spec is None or spec.origin is None:
        raise BadInput(f"the code of {name}, {path}, is not there.", remedy="Is it installed, or on PYTHONPATH?")
    if spec.submodule_search_locations is None:
        return (Path(spec.origin),)
    return tuple(sorted(f for folder in spec.submodule_search_locations for f in Path(folder).rglob("*.py")))


def source_version(name: str) -> str:
    """Return what tells versions of a module's code apart: the first digits of the sha256 of its files."""
    digest = hashlib.sha256()
    for file in source_files(name):
        digest.update(f"{file.name}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:VERSION_DIGITS]


class SourceWatch:
    """Notices that the sources of modules change: by their times and sizes, at every look; no more than that is read."""

    def __init__(self, names: Iterable[str]) -> None:
        self._seen = {name: self._marks(name) for name in names}

    def changed(self) -> tuple[str, ...]:
        """Return the modules whose files are not what they were at the last look."""
        found = []
        for name, before in self._seen.items():
            now = self._marks(name)
            if now != before:
                self._seen[name] = now
                found.append(name)
        return tuple(found)

    def _marks(self, name: str) -> tuple[tuple[str, int, int], ...]:
        marks = []
        for file in source_files(name):
            try:
                stat = file.stat()
            except FileNotFoundError:  # an editor that replaces it: the next look sees the new one
                continue
            marks.append((str(file), stat.st_mtime_ns, stat.st_size))
        return tuple(marks)
