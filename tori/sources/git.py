"""The history of a git repository as a source: one document a commit, oldest first.

A document's id is the commit's hash, its title the subject, its text the message and which files changed, its time the author's
date, its thread the top folder most of the change lies in, its links the commits the message mentions by hash. Read with the
``git`` executable as a stream. A repository can name programs in its own settings; none of them is run, nothing is fetched and
nothing is written.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tori.errors import BadInput, PermanentError
from tori.events.document import EARLIEST_NS, LATEST_NS, LONGEST_TITLE, Document
from tori.sources.base import LARGEST_TEXT_BYTES, Refusal, Source, flaw_of

MOST_COMMITS = 2_000_000
SHOWN_PATHS = 20
"""Changed files that are named; the others are counted."""
MOST_LINKS = 64
_CHUNK_BYTES = 1 << 16
_ANSWER_S = 60.0
_SAID_BYTES = 4_096
_FORMAT = "%x00%H%x00%at%x00%B%x00"
_HASH = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_MENTIONED = re.compile(r"(?<![0-9A-Za-z_/#-])[0-9a-f]{7,64}(?![0-9A-Za-z_-])")
_TRAILER = re.compile(r"^(?:[A-Z][a-z]+(?:-[a-z]+)*-by|Change-Id|git-svn-id|Cc):.*$\n?", re.M)
_SETTINGS = (
    *("core.fsmonitor=", "core.hooksPath=/dev/null", "core.pager=cat", "core.alternateRefsCommand="),
    *("protocol.allow=never", "diff.external=", "diff.submodule=short", "log.showSignature=false", "log.mailmap=false"),
    *("safe.bareRepository=all", "submodule.recurse=false"),
)
_LOG = (
    *("log", "-z", "--reverse", "--topo-order", "--no-color", "--no-ext-diff", "--no-textconv", "--no-show-signature"),
    *("--no-renames", "--no-diff-merges", "--no-mailmap", "--no-notes", "--encoding=UTF-8", "--name-only"),
    *(f"--max-count={MOST_COMMITS}", f"--format={_FORMAT}", "HEAD", "--"),
)


@dataclass
class _Commit:
    name: str
    author_s: str
    message: str
    is_cut: bool
    """Whether the message is longer than a text may be."""
    paths: list[str] = field(default_factory=list)
    more: int = 0
    tops: Counter[str] = field(default_factory=Counter)


class GitHistory(Source):
    """The commits that lead to HEAD of the repository at ``path``, bare or not; raises BadInput when there is none."""

    unit = "commits"

    def __init__(self, path: Path, *, name: str = "") -> None:
        super().__init__(name or f"git:{path}")
        self.path = path.absolute()
        if shutil.which("git") is None:
            raise PermanentError("git is not installed.", remedy="Install it (Debian: apt install git).")
        if not self.path.is_dir():
            raise BadInput(f"there is no folder {str(path)!r}.", remedy="Give the folder of a repository: git:PATH.")
        self._ask_repository()

    def _ask_repository(self) -> None:
        """Raise BadInput unless there is a repository with a commit here and not only above."""
        found, said = self._answer("rev-parse", "--is-bare-repository")
        if not found:
            if "not a git repository" in said:
                raise BadInput(
                    f"{self.path} is no git repository.",
                    remedy="Give the folder that holds .git, or the path alone to read its files.",
                )
            raise BadInput(
                f"git cannot read {self.path}: {said}.", remedy="Repair the repository; git fsck tells more."
            )
        found, said = self._answer("rev-parse", "--verify", "--quiet", "--end-of-options", "HEAD^{commit}")
        if not found:
            raise BadInput(f"{self.path} has no commit at HEAD yet.", remedy="Commit something, or check a branch out.")

    def total(self) -> int | None:
        found, _ = self._answer("rev-list", "--count", f"--max-count={MOST_COMMITS}", "HEAD", "--")
        return int(found) if found.isdigit() else None

    def documents(self) -> Iterator[Document | Refusal]:
        self.position = 0
        boundary = self._boundary()
        if boundary:
            yield Refusal(
                str(self.path), "a shallow clone: the commits before its first are not here.", "git fetch --unshallow."
            )
        with (
            tempfile.TemporaryFile() as said,
            self._running(said, *_LOG) as log,
            self._running(said, "cat-file", "--batch-check=%(objectname) %(objecttype)") as names,
        ):
            assert log.stdout is not None
            for commit in _commits(log.stdout):
                self.position += 1
                # The first commit of a shallow clone seems to add every file there is.
                known = _Commit(commit.name, commit.author_s, commit.message, commit.is_cut)
                yield self._document(known if commit.name in boundary else commit, names)
            if log.wait() != 0:
                said.seek(0)
                reason = f"reading stopped: {_complaint(said.read(_SAID_BYTES))}."
                yield Refusal(str(self.path), reason, "Repair the repository (git fsck), run it again.")

    def _document(self, commit: _Commit, names: subprocess.Popen[bytes]) -> Document | Refusal:
        place = f"{self.path} {commit.name[:12]}"
        if commit.is_cut:
            return Refusal(place, f"the message is larger than {LARGEST_TEXT_BYTES} bytes.", "It is left out.")
        message = _TRAILER.sub("", commit.message).strip()
        subject = next(iter(message.split("\n")), "").strip()
        document = Document(
            id=commit.name,
            title=subject[:LONGEST_TITLE] or commit.name[:12],
            text="\n\n".join(filter(None, (message, _changes(commit, message)))),
            time_ns=_time_ns(commit.author_s),
            source=self.name.encode("utf-8", "replace").decode(),
            thread=_thread(commit),
            links=_mentioned(message, commit.name, names),
        )
        flaw = flaw_of(document)
        return Refusal(place, flaw, "It is left out.") if flaw else document

    # -- git -----------------------------------------------------------------------------------------------------

    def _boundary(self) -> frozenset[str]:
        """Return the commits at which a shallow clone begins."""
        found, _ = self._answer("rev-parse", "--git-path", "shallow")
        path = self.path / found
        if not found or not path.is_file():
            return frozenset()
        with path.open("rb") as file:
            return frozenset(line.strip().decode("ascii", "replace") for line in file.read(1 << 24).splitlines())

    def _answer(self, *arguments: str) -> tuple[str, str]:
        """Return what git answers in one line, and what it said on stderr when it refused."""
        try:
            done = subprocess.run(
                self._command(arguments),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=_environment(self.path),
                timeout=_ANSWER_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BadInput(
                f"git did not answer about {self.path} in {_ANSWER_S:.0f} s.", remedy="Run git fsck."
            ) from error
        if done.returncode:
            return "", _complaint(done.stderr)
        return done.stdout.decode("utf-8", "surrogateescape").strip(), ""

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        settings = [word for setting in (*_SETTINGS, f"safe.directory={self.path}") for word in ("-c", setting)]
        return ["git", "--no-pager", "--no-replace-objects", "-C", str(self.path), *settings, *arguments]

    @contextlib.contextmanager
    def _running(self, said: IO[bytes], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run git beside us, what it says on stderr going into ``said``; it is ended when we stop reading."""
        process = subprocess.Popen(
            self._command(arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env=_environment(self.path),
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    if stream is not None:
                        stream.close()


def _environment(path: Path) -> dict[str, str]:
    """Return an environment in which git knows the repository's own settings only, and asks nobody anything."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return kept | {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CEILING_DIRECTORIES": str(path.parent),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "LC_ALL": "C",
    }


def _complaint(data: bytes) -> str:
    """Return what git says is wrong: its first fatal line, or the last one it wrote."""
    lines = data[-_SAID_BYTES:].decode("utf-8", "replace").strip().splitlines() or ["git ended without a word"]
    said = next((line for line in lines if line.startswith("fatal: ")), lines[-1])
    return said.removeprefix("fatal: ").rstrip(".")[:300]


def _tokens(stream: IO[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield what stands between NUL bytes, and whether it was cut because it is longer than a text may be."""
    kept, cut = b"", False
    while data := stream.read(_CHUNK_BYTES):
        *whole, rest = data.split(b"\0")
        for token in whole:
            yield (kept + token)[:LARGEST_TEXT_BYTES], cut or len(kept) + len(token) > LARGEST_TEXT_BYTES
            kept, cut = b"", False
        if len(kept) <= LARGEST_TEXT_BYTES:
            kept += rest
        cut = cut or len(kept) > LARGEST_TEXT_BYTES
    if kept:
        yield kept, cut


def _commits(stream: IO[bytes]) -> Iterator[_Commit]:
    """Yield the commits in the log: an empty token, hash, time, message, an empty token, then the paths until the next."""
    tokens = _tokens(stream)
    commit: _Commit | None = None
    for token, _ in tokens:
        if token or commit is None:
            if commit is not None:
                _add_path(commit, token.removeprefix(b"\n").decode("utf-8", "replace"))
                continue
            if token:
                return
        if commit is not None:
            yield commit
        name, author_s = next(tokens, (b"", False))[0], next(tokens, (b"", False))[0]
        message, is_cut = next(tokens, (b"", False))
        end = next(tokens, None)
        if not _HASH.match(name) or end is None or end[0]:
            return
        commit = _Commit(name.decode(), author_s.decode("ascii", "replace"), message.decode("utf-8", "replace"), is_cut)
    if commit is not None:
        yield commit


def _add_path(commit: _Commit, path: str) -> None:
    commit.tops[path.split("/", 1)[0] if "/" in path else ""] += 1
    if len(commit.paths) < SHOWN_PATHS:
        commit.paths.append(path)
    else:
        commit.more += 1


def _changes(commit: _Commit, message: str) -> str:
    """Return which files changed, as a block of code: the names are for questions and for people, no prose to learn words from.

    It is at most twice as long as the message, for a text that is mostly code is read as if it were prose (``reader.clean``).
    """
    if not commit.paths:
        return ""
    budget = 2 * len("".join(message.split())) - len("``````and999999morefiles") if message else LARGEST_TEXT_BYTES
    shown: list[str] = []
    for path in commit.paths:
        budget -= len(path)
        if budget < 0:
            break
        shown.append("".join(c if c.isprintable() else "?" for c in path))
    left = len(commit.paths) - len(shown) + commit.more
    more = f"and {left} more files" if shown else f"{left} changed"
    return "\n".join(["```", *shown, *([more] if left else []), "```"])


def _thread(commit: _Commit) -> str:
    """Return the top folder that holds more than half of the changed files, or an empty string."""
    if not commit.tops:
        return ""
    top, count = min(commit.tops.items(), key=lambda item: (-item[1], item[0]))
    is_most = 2 * count > sum(commit.tops.values()) and len(top) <= 200 and top.isprintable()
    return top if is_most else ""


def _time_ns(author_s: str) -> int | None:
    try:
        time_ns = int(author_s) * 1_000_000_000
    except ValueError:
        return None
    return time_ns if EARLIEST_NS <= time_ns <= LATEST_NS else None


def _mentioned(message: str, own: str, names: subprocess.Popen[bytes]) -> tuple[str, ...]:
    """Return the full hashes of commits that a message mentions and that the repository has, in order of mention."""
    assert names.stdin is not None
    assert names.stdout is not None
    found: dict[str, None] = {}
    for hit in list(dict.fromkeys(_MENTIONED.findall(message)))[:MOST_LINKS]:
        if hit.isdigit():
            continue
        try:
            names.stdin.write(hit.encode() + b"\n")
            names.stdin.flush()
        except BrokenPipeError:  # git died over a broken object: the log will say so
            break
        name, _, kind = names.stdout.readline().decode("ascii", "replace").strip().partition(" ")
        if kind == "commit" and name != own:
            found[name] = None
    return tuple(found)
