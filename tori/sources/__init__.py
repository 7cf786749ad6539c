"""Where documents come from: folders, JSON Lines, git history, Python's own documentation. Used by the door, client-side."""

from __future__ import annotations

import codecs
import stat
from collections.abc import Sequence
from pathlib import Path

from tori.errors import BadInput
from tori.events.document import flaw_of_id
from tori.home import expanded
from tori.sources.base import Refusal, Source
from tori.sources.folder import KINDS, Folder
from tori.sources.git import GitHistory
from tori.sources.jsonl import JsonLines
from tori.sources.python import (
    STANDARD_LIBRARY,
    PythonDocumentation,
    demonstration,
    installed_packages,
    standard_library,
)

__all__ = [
    "KINDS",
    "Folder",
    "GitHistory",
    "JsonLines",
    "PythonDocumentation",
    "Refusal",
    "Source",
    "demonstration",
    "installed_packages",
    "open_source",
    "standard_library",
]

_PYTHON = "python:"
_GIT = "git:"
_EVERYTHING = "installed"


def open_source(
    spec: str | Path,
    *,
    encodings: Sequence[str] = ("utf-8",),
    mtime_as_time: bool = False,
    limit: int | None = None,
    name: str = "",
) -> Source:
    """Return the source that ``spec`` names.

    A folder or a text file; a ``.jsonl`` or ``.jsonl.gz`` file; ``git:PATH`` (the commits of a repository; the path alone
    means the files in it); ``python:`` (standard library and the demonstration's
    packages), ``python:numpy,scipy`` (packages by import name), ``python:stdlib``, ``python:installed`` (all packages).
    ``encodings``, ``mtime_as_time`` and ``name`` (before every id: two folders may hold
    files of one name) concern folders, ``limit`` the objects of one Python package. Raises BadInput.
    """
    text = str(spec)
    if not text.strip():
        raise BadInput("the source is empty.", remedy="Give a path; . is the folder you are in.")
    if name:
        _check_name(name, text)
    if text.startswith(_PYTHON):
        return _python(text, limit)
    if text.startswith(_GIT):
        return GitHistory(expanded(text.removeprefix(_GIT) or "."), name=text)
    for encoding in encodings:
        try:
            codecs.lookup(encoding)
        except LookupError as error:
            raise BadInput(f"there is no encoding {encoding!r}.", remedy="Name one such as utf-8 or cp1252.") from error
    path = expanded(text)
    if path.is_dir():
        return Folder(path, encodings=encodings, mtime_as_time=mtime_as_time, name=name)
    _check_file(path, text)
    if path.name.lower().endswith((".jsonl", ".jsonl.gz", ".ndjson")):
        return JsonLines(path)
    if path.suffix.lower() in KINDS:
        return Folder(path, encodings=encodings, mtime_as_time=mtime_as_time, name=name)
    known = ", ".join([*KINDS, ".jsonl", ".jsonl.gz"])
    raise BadInput(f"{text!r} is of no kind that can be read.", remedy=f"Give a folder or a file ending in {known}.")


def _check_name(name: str, text: str) -> None:
    flaw = flaw_of_id(name)
    if flaw:
        raise BadInput(f"the name {name!r} cannot stand before ids: {flaw}", remedy="Choose a short word.")
    if text.startswith((_PYTHON, _GIT)) or text.lower().endswith((".jsonl", ".jsonl.gz", ".ndjson")):
        raise BadInput(f"{text} has ids of its own.", remedy="A name is for folders and single files; leave --as out.")


def _check_file(path: Path, text: str) -> None:
    """Raise BadInput that says why there is nothing at ``path`` that could be read."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        if path.is_symlink():
            raise BadInput(f"{text!r} is a symbolic link to nothing.", remedy="Give the path of a file.") from error
        remedy = "Give a path, git:PATH for a repository's history, or python: for documentation."
        raise BadInput(f"there is no file or folder {text!r}.", remedy=remedy) from error
    except OSError as error:
        raise BadInput(f"{text!r} cannot be read: {error.strerror}.", remedy="Give a path that can be.") from error
    if not stat.S_ISREG(mode):
        raise BadInput(
            f"{text!r} is not a regular file (a pipe, socket or device).", remedy="Write its content to a file."
        )


def _python(spec: str, limit: int | None) -> Source:
    if limit is not None and limit < 1:
        raise BadInput(f"limit is {limit}.", remedy="Give at least 1 object a package.")
    names = [n.strip() for n in spec.removeprefix(_PYTHON).split(",") if n.strip()]
    if not names:
        packages = demonstration()
    else:
        packages = standard_library() if STANDARD_LIBRARY in names else []
        chosen = None if _EVERYTHING in names else [n for n in names if n != STANDARD_LIBRARY]
        packages += installed_packages(chosen)
    return PythonDocumentation(packages, name=spec, limit=limit)
