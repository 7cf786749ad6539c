"""What must hold of mirrors: each is the beginning of what is durable at its source, byte for byte, and never gets shorter."""

from __future__ import annotations

from collections.abc import Mapping

from tests.sim.check import Checker, mark_of
from tests.sim.node import HOME, Node
from tests.sim.story import Violation
from tori.errors import JournalError
from tori.journal.reader import JournalReader
from tori.modules.open import mirrors_of


class Copy:
    """One mirror, as far as it was seen."""

    def __init__(self, node: Node, name: str) -> None:
        self.node = node
        self.name = name
        self.reader: JournalReader | None = None
        self.offset = 0
        """Up to where it was announced as durable."""
        self.frames = 0
        """How many frames that are."""
        self.is_stale = True
        """Nobody has opened it since the machine came up: its position words are of an earlier run."""

    def __str__(self) -> str:
        return f"the mirror of {self.name} on {self.node.name}"


class MirrorChecker:
    """The oracle of all mirrors; stands on what the checker of the journals has seen."""

    def __init__(self, nodes: tuple[Node, ...], checker: Checker) -> None:
        self._checker = checker
        self.copies = {(node.name, name): Copy(node, name) for node in nodes for name in node.mirrored or {}}

    def observe(self) -> None:
        """Read what the mirrors announced since the last time, and compare it with the sources."""
        for copy in self.copies.values():
            if not copy.is_stale:
                self._read(copy)

    def _read(self, copy: Copy) -> None:
        try:
            if copy.reader is None:
                directory = mirrors_of(HOME) / copy.name
                copy.reader = JournalReader(directory, files=copy.node.watcher.files)
            limit = copy.reader.limit("durable")
            if limit < copy.offset:
                raise Violation(f"{copy} went back from {copy.offset} to {limit}")
            if limit > self._checker.watches[copy.name].offset:
                raise Violation(f"{copy} is at {limit}, its source at {self._checker.watches[copy.name].offset}")
            self._compare(copy, copy.reader, limit)
        except JournalError as error:
            raise Violation(f"{copy} cannot be read: {error}") from error

    def _compare(self, copy: Copy, reader: JournalReader, limit: int) -> None:
        marks = self._checker.watches[copy.name].marks
        for frame in reader.frames(copy.offset, limit):
            was, now = marks[copy.frames], mark_of(frame)
            if was != now:
                raise Violation(f"{copy} holds {now} where its source has {was}")
            copy.frames += 1
            copy.offset = frame.end

    def opened(self, node: Node, positions: Mapping[str, tuple[int, int]]) -> None:
        """A relay has opened these mirrors: what was announced is there, and is read again from the beginning."""
        for name, (offset, _) in positions.items():
            copy = self.copies[node.name, name]
            if offset < copy.offset:
                raise Violation(f"{copy} is opened at {offset}, it was announced up to {copy.offset}")
            if copy.is_stale:
                copy.is_stale = False
                self._reread(copy)

    def _reread(self, copy: Copy) -> None:
        copy.reader, copy.offset, copy.frames = None, 0, 0
        self._read(copy)

    def reread(self) -> None:
        """Read all of every mirror again."""
        for copy in self.copies.values():
            self._reread(copy)

    def power_was_cut(self, node: Node) -> None:
        """Position words are of an earlier run now; what is on the disk is read again as soon as somebody has opened it."""
        for copy in self.copies.values():
            if copy.node is node:
                copy.is_stale, copy.reader = True, None

    @property
    def is_complete(self) -> bool:
        """Whether every mirror holds all that is durable at its source."""
        return all(copy.offset == self._checker.watches[copy.name].offset for copy in self.copies.values())

    def validate(self) -> None:
        """No follower is past what its mirror announced."""
        for copy in self.copies.values():
            for name, one in copy.node.running.items():
                follower = one.host._followers.get(copy.name)
                if follower is not None and follower.cursor.offset > copy.offset and not copy.is_stale:
                    raise Violation(f"{name} is at {follower.cursor.offset} of {copy}, which ends at {copy.offset}")
