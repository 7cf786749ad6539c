"""Journals for tests: frames with numbers in them, and reading them back."""

from __future__ import annotations

from pathlib import Path

from tori.clock import VirtualClock
from tori.events.envelope import Event, FrameContext
from tori.events.system import CustomEvent, SystemStarted
from tori.ids import IdSource, source_suffix
from tori.journal.frame import EVENTS, Frame
from tori.journal.reader import JournalReader, Visibility
from tori.journal.segment import list_segments
from tori.journal.unit import event_frames, events_frame
from tori.journal.writer import JournalWriter

CONTEXT = FrameContext("test")


class Numbers:
    """Makes events that carry rising numbers."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.ids = IdSource(source_suffix("test", b"test"), self.clock.wall_ns)
        self.next = 0

    def events(self, count: int) -> list[Event]:
        made = [Event(self.ids.next(), CustomEvent("number", {"n": self.next + i})) for i in range(count)]
        self.next += count
        return made

    def frames(self, count: int) -> list[Frame]:
        return event_frames(CONTEXT, self.events(count))

    def urgent(self) -> list[Frame]:
        self.next += 1
        return [events_frame(CONTEXT, [Event(self.ids.next(), SystemStarted(str(self.next - 1)))], 0)]


def open_writer(directory: Path, segment_bytes: int = 4096, **options: object) -> JournalWriter:
    """Return a writer without a background thread and with small segments."""
    return JournalWriter(directory, segment_bytes=segment_bytes, fallback_s=None, **options)  # type: ignore[arg-type]  # passed on as given


def abandon(writer: JournalWriter) -> None:
    """Let a writer's lock and files go without the goodbye of ``close``: as if its process had died."""
    writer._bell.close()
    writer._owner.release()
    for file in (*writer._older, writer._segment.file):
        file.close()


def number_of(event: Event) -> int:
    payload = event.payload
    if isinstance(payload, SystemStarted):
        return int(payload.status)
    assert isinstance(payload, CustomEvent)
    number = payload.data["n"]
    assert isinstance(number, int)
    return number


def numbers_in(directory: Path, visibility: Visibility = "durable") -> list[int]:
    """Return the numbers in a journal, as a fresh reader sees them."""
    reader = JournalReader(directory)
    try:
        frames = reader.frames(reader.first_offset(), reader.limit(visibility))
        return [number_of(e) for f in frames if f.header.kind == EVENTS for e in f.events]
    finally:
        reader.close()


def segment_files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.seg"))


def journal_bytes(directory: Path, end: int) -> bytes:
    """Return the bytes of a journal from its first offset to ``end``, put together from its live segments."""
    names = [name for name in list_segments(directory) if name.base < end]
    ends = [*(name.base for name in names[1:]), end] if names else []
    parts = [n.file(directory).read_bytes()[: until - n.base] for n, until in zip(names, ends, strict=True)]
    return b"".join(parts)


def assert_mirrored(source: Path, mirror: Path) -> int:
    """Assert that a mirror is byte for byte what its source has up to the mirror's end; return how many bytes that are."""
    reader = JournalReader(mirror)
    try:
        end = reader.limit()
    finally:
        reader.close()
    copy = journal_bytes(mirror, end)
    assert copy == journal_bytes(source, end), f"the mirror of {source.name} differs"
    return len(copy)
