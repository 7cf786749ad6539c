"""The home: the directory a system lives in. Checked and marked before anything is put into it."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from pathlib import Path

from tori.errors import BadInput, PermanentError

FORMAT = 1
"""Rises when the layout of a home changes so that an older version would misread it."""
MARK = "home.json"
REWIND_INTENT = "rewind-intent.json"
"""A rewind in place is under way: whoever opens the home finishes it before anything reads a journal."""
_ELSEWHERE = "Choose another with --home or TORI_HOME."
_FULL = (errno.ENOSPC, errno.EDQUOT)


class HomeUnusable(PermanentError):
    """The home cannot hold a system."""

    exit_code = 74


def open_home(home: Path) -> Path:
    """Make the home if it is new, check that it can be written and that this version can read it; return it.

    Raises HomeUnusable naming the cause. What lies in it already is left as it is, but for a rewind that was interrupted: that is
    brought to its end.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        _check_mark(home / MARK)
        with tempfile.NamedTemporaryFile(dir=home, prefix=".probe-") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
        if not (home / MARK).exists():
            _mark(home / MARK)
    except (FileExistsError, NotADirectoryError) as error:
        raise HomeUnusable(f"{home} cannot be a home: a file is in its place.", remedy=_ELSEWHERE) from error
    except OSError as error:
        remedy = "Free disk space." if error.errno in _FULL else _ELSEWHERE
        raise HomeUnusable(f"the home {home} cannot be written: {error.strerror}.", remedy=remedy) from error
    if (home / REWIND_INTENT).exists():
        from tori.checkpoint.swap import finish_rewind

        finish_rewind(home)
    return home


def _check_mark(path: Path) -> None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["format"]
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError) as error:
        raise HomeUnusable(
            f"{path} does not say which format the home has.",
            remedy=f'Restore it from a copy; homes of this version hold {{"format": {FORMAT}}}.',
        ) from error
    if found != FORMAT:
        raise HomeUnusable(
            f"{path.parent} is a home of format {found!r}; this version reads {FORMAT}.",
            remedy=f"Use the version of tori-orchestrator that wrote it, or a newer one. {_ELSEWHERE}",
        )


def _mark(path: Path) -> None:
    """Write the mark in one step."""
    temporary = path.with_suffix(".new")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump({"format": FORMAT}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def expanded(text: str | Path) -> Path:
    """Return a path with ``~`` and ``~user`` filled in; raises BadInput for what no path can be."""
    if "\0" in str(text):
        raise BadInput(f"{str(text)!r} is no path: it holds a NUL character.", remedy="Give a path without it.")
    try:
        os.fsencode(text)
        return Path(text).expanduser()
    except UnicodeEncodeError as error:
        raise BadInput(
            f"{str(text)!r} is no path in this locale's encoding.", remedy="Set LC_ALL=C.UTF-8, or PYTHONUTF8=1."
        ) from error
    except RuntimeError as error:
        raise BadInput(f"{str(text)!r} is no path: {error}", remedy="Write the path out.") from error
