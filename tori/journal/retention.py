"""Retention: which segments of a journal may go. A policy decides, ``remove`` does it.

Only whole segments go, oldest first, so a journal stays one stretch without holes; whoever asks for what went gets ``JournalTruncated``.
The newest two stay in any case: recovery reads them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tori.errors import BadSettings
from tori.journal.files import SYSTEM_FILES, Files
from tori.journal.frame import decode_header
from tori.journal.segment import MappedSegment, SegmentName, list_segments

KEPT_JOURNALS = ("clients", "reader")
"""What came in and what was read from it: everything else follows from these, so they are kept unless somebody says otherwise."""
KEPT_SEGMENTS = 2


@dataclass(frozen=True)
class SealedSegment:
    """A segment, and where the next one begins."""

    name: SegmentName
    end: int
    size_bytes: int
    begins_ns: int = 0
    """Time of its first event, or 0 when it begins with none."""


@dataclass(frozen=True)
class Guards:
    """Who still needs what of one journal. Whoever is in ``needed_by`` and has no offset needs all of it."""

    offsets: Mapping[str, int] = field(default_factory=dict)
    """Holder to the lowest offset it needs: durable cursors, the replay of the oldest kept checkpoint, and the inputs of that replay."""
    findings: Mapping[str, int] = field(default_factory=dict)
    """Open finding to the lowest offset that its ``why`` names here."""
    needed_by: frozenset[str] = frozenset()
    """Holders that exist; one of them without an offset has not said what it needs."""

    def lowest(self) -> tuple[int | None, str]:
        """Return (lowest offset that somebody needs, who); None when nobody needs anything."""
        for holder in sorted(self.needed_by):
            if holder not in self.offsets:
                return 0, f"{holder} has not said how far it is"
        held = [(offset, f"{holder} stands at {offset}") for holder, offset in self.offsets.items()]
        held += [(offset, f"the why of finding {finding} needs {offset}") for finding, offset in self.findings.items()]
        return min(held) if held else (None, "")


@dataclass(frozen=True)
class RetentionDecision:
    """Segments to remove, oldest first, and why the next one stays."""

    removable: tuple[SegmentName, ...] = ()
    kept_because: str = ""


class RetentionPolicy(ABC):
    """Decides what may go."""

    @abstractmethod
    def decide(self, journal: str, segments: Sequence[SealedSegment], guards: Guards, now_ns: int) -> RetentionDecision:
        """Return the decision for one journal; ``segments`` are all live ones, oldest first."""


@dataclass(frozen=True)
class KeepEverythingPolicy(RetentionPolicy):
    """Removes nothing: the default."""

    def decide(self, journal: str, segments: Sequence[SealedSegment], guards: Guards, now_ns: int) -> RetentionDecision:
        return RetentionDecision(kept_because="everything is kept")


@dataclass(frozen=True)
class WindowPolicy(RetentionPolicy):
    """Removes what is older than ``keep_s`` or beyond ``keep_bytes``, as far as nobody needs it."""

    keep_s: float | None = None
    keep_bytes: int | None = None
    kept_journals: tuple[str, ...] = KEPT_JOURNALS

    def __post_init__(self) -> None:
        if (self.keep_s is not None and self.keep_s <= 0) or (self.keep_bytes is not None and self.keep_bytes <= 0):
            raise BadSettings(
                f"keep_s {self.keep_s} and keep_bytes {self.keep_bytes} must be above 0.",
                remedy="Leave one out to have no such limit.",
            )

    def decide(self, journal: str, segments: Sequence[SealedSegment], guards: Guards, now_ns: int) -> RetentionDecision:
        if journal in self.kept_journals:
            return RetentionDecision(kept_because=f"the journal of {journal} is kept whole")
        lowest, holder = guards.lowest()
        total = sum(s.size_bytes for s in segments)
        removable: list[SegmentName] = []
        for index, segment in enumerate(segments[: max(0, len(segments) - KEPT_SEGMENTS)]):
            if lowest is not None and segment.end > lowest:
                return RetentionDecision(tuple(removable), holder)
            if not self._is_surplus(total, segments[index + 1], now_ns):
                return RetentionDecision(tuple(removable), "it is within the limits")
            removable.append(segment.name)
            total -= segment.size_bytes
        return RetentionDecision(tuple(removable), f"the newest {KEPT_SEGMENTS} segments stay")

    def _is_surplus(self, total: int, following: SealedSegment, now_ns: int) -> bool:
        """Say whether the oldest segment is beyond a limit; it is as young as the segment after it begins."""
        if self.keep_bytes is not None and total > self.keep_bytes:
            return True
        return self.keep_s is not None and 0 < following.begins_ns < now_ns - self.keep_s * 1e9


def survey(directory: Path, files: Files = SYSTEM_FILES) -> list[SealedSegment]:
    """Return the live segments of a journal, oldest first; the last one ends where its file does."""
    names = list_segments(directory, files)
    found = []
    for index, name in enumerate(names):
        segment = MappedSegment(directory, name, files)
        header = decode_header(segment.view)
        begins_ns = 0
        at = 0
        while header is not None and not header.first_time_ns and at < segment.size:
            at += header.size
            header = decode_header(segment.view, at) if at < segment.size else None
        if header is not None:
            begins_ns = header.first_time_ns
        end = names[index + 1].base if index + 1 < len(names) else name.base + segment.size
        found.append(SealedSegment(name, end, segment.size, begins_ns))
        segment.close()
    return found


def remove(directory: Path, decision: RetentionDecision, files: Files = SYSTEM_FILES) -> int:
    """Unlink what was decided; return how many went. Raises OSError; what is left then is still one stretch.

    Each name is gone for certain before the next one goes: a crash in between leaves no hole.
    """
    removed = 0
    for name in decision.removable:
        if files.exists(name.file(directory)):
            files.unlink(name.file(directory))
            files.sync_directory(directory)
            removed += 1
    return removed
