"""Every journal of one home, read only: an event by its id, the story of causes behind it, the newest events.

An id says its time and its source, so a lookup needs no index on disk: frame headers carry time ranges, and the sparse list
of them is made as far as anybody asked.
"""

from __future__ import annotations

import bisect
from collections import OrderedDict, deque
from collections.abc import Iterator
from pathlib import Path

from tori.errors import BadInput
from tori.events.envelope import Envelope, Event
from tori.ids import ID_BYTES, id_time_ns, source_suffix
from tori.journal.files import SYSTEM_FILES, Files
from tori.journal.follower import Readable
from tori.journal.frame import EVENTS
from tori.journal.position import Position
from tori.journal.reader import FrameView, JournalReader, Visibility

CACHED_FRAMES = 16
MAX_STORY = 10_000


class _Index:
    """Time ranges of a journal's event frames, in order, made incrementally."""

    def __init__(self, reader: Readable) -> None:
        self.reader = reader
        self.last_times: list[int] = []
        self.offsets: list[int] = []
        self._indexed = -1

    def extend(self) -> None:
        limit = self.reader.limit("written")
        start = self.reader.first_offset() if self._indexed < 0 else self._indexed
        for frame in self.reader.frames(start, limit):
            if frame.header.kind == EVENTS:
                last = frame.header.last_time_ns
                self.last_times.append(max(last, self.last_times[-1] if self.last_times else 0))
                self.offsets.append(frame.offset)
        self._indexed = max(limit, start)

    def candidates(self, time_ns: int) -> Iterator[FrameView]:
        """Yield the frames whose time range holds ``time_ns``."""
        if not self.last_times or self.last_times[-1] < time_ns:
            self.extend()
        at = bisect.bisect_left(self.last_times, time_ns)
        while at < len(self.offsets):
            frame = self.reader.frame(self.offsets[at])
            if frame.header.first_time_ns > time_ns:
                return
            yield frame
            at += 1


class Archive:
    """The journals in some folders of one node's home, their names all different. Not thread-safe: one archive a thread."""

    def __init__(self, *directories: Path, files: Files = SYSTEM_FILES) -> None:
        self._directories = directories
        self._files = files
        self._indexes: dict[str, _Index] = {}
        self._by_hash: dict[bytes, str] = {}
        self._frames: OrderedDict[tuple[str, int], dict[bytes, Event]] = OrderedDict()

    def add(self, reader: Readable) -> None:
        """Put one more journal under this archive."""
        self._indexes[reader.name] = _Index(reader)
        self._by_hash[source_suffix(reader.name, b"")[:4]] = reader.name

    def refresh(self) -> None:
        """Find journals that were made since."""
        files = self._files
        for path in sorted(d / name for d in self._directories for name in files.names(d)):
            if path.name not in self._indexes and files.exists(path / "journal.json") and files.exists(path / "epoch"):
                self.add(JournalReader(path, files=files))

    @property
    def readers(self) -> dict[str, Readable]:
        """Return the journals by name."""
        self.refresh()
        return {name: index.reader for name, index in self._indexes.items()}

    def read(self, event_id: bytes) -> Event:
        """Return an event; raises BadInput when no journal of this home holds it."""
        return self.find(event_id)[0]

    def find(self, event_id: bytes) -> tuple[Event, str]:
        """Return (event, journal name); raises BadInput when no journal of this home holds it."""
        if len(event_id) != ID_BYTES:
            raise BadInput(
                f"an event id has {ID_BYTES} bytes, not {len(event_id)}.", remedy="Copy it whole, 32 hex digits."
            )
        likely = self._by_hash.get(event_id[8:12])
        if likely is None:
            self.refresh()
            likely = self._by_hash.get(event_id[8:12])
        names = [likely] if likely is not None else list(self._indexes)
        for name in names:
            for frame in self._indexes[name].candidates(id_time_ns(event_id)):
                event = self._decoded(name, frame).get(event_id)
                if event is not None:
                    return event, name
        raise BadInput(f"no journal here holds the event {event_id.hex()}.", remedy="Check the id with `tori tail`.")

    def _decoded(self, name: str, frame: FrameView) -> dict[bytes, Event]:
        key = (name, frame.offset)
        events = self._frames.get(key)
        if events is None:
            events = self._frames[key] = {e.id: e for e in frame.events}
            if len(self._frames) > CACHED_FRAMES:
                self._frames.popitem(last=False)
        else:
            self._frames.move_to_end(key)
        return events

    def story(self, event_id: bytes, limit: int = MAX_STORY) -> list[tuple[Event, str]]:
        """Return the event and everything it follows from, breadth first, each once with its journal."""
        found: dict[bytes, tuple[Event, str]] = {}
        queue = deque([event_id])
        while queue and len(found) < limit:
            one = queue.popleft()
            if one in found:
                continue
            found[one] = self.find(one)
            queue.extend(found[one][0].causes)
        return list(found.values())

    def envelopes(self, name: str, start: int | None = None, visibility: Visibility = "durable") -> Iterator[Envelope]:
        """Yield the events of one journal from an offset on, with everything known about them."""
        reader = self.readers[name]
        begin = reader.first_offset() if start is None else start
        for frame in reader.frames(begin, reader.limit(visibility)):
            if frame.header.kind == EVENTS:
                yield from unfold(name, frame)

    def newest(self, name: str, count: int) -> list[Envelope]:
        """Return the last ``count`` events of one journal, oldest first."""
        self.refresh()
        index = self._indexes[name]
        index.extend()
        found: list[Envelope] = []
        for offset in reversed(index.offsets):
            found = list(unfold(name, index.reader.frame(offset))) + found
            if len(found) >= count:
                break
        return found[-count:]

    def backwards(self, name: str) -> Iterator[FrameView]:
        """Yield the event frames of one journal, newest first; what is written and not yet on disk is left out."""
        self.refresh()
        index = self._indexes[name]
        index.extend()
        limit = index.reader.limit()
        for offset in reversed(index.offsets):
            if offset < limit:
                yield index.reader.frame(offset)

    def close(self) -> None:
        for index in self._indexes.values():
            index.reader.close()
        self._indexes.clear()
        self._frames.clear()


def unfold(name: str, frame: FrameView) -> Iterator[Envelope]:
    """Yield the events of one frame as envelopes."""
    header, body = frame.header, frame.decoded
    for index, event in enumerate(body.events):
        position = Position(name, header.epoch, header.first_sequence + index)
        yield Envelope(event, body.context, header.lane, position)
