"""How one node follows the journals of another: a sender at the source, a receiver with its mirrors.

    sender (source's node)  ──parcels──▶  receiver (other node)
    blocks on the journals' own wake-up    checks, writes, syncs, rings the followers there

One stream carries all journals one node wants of another, in the order in which they are asked for: a journal stands behind those its
events speak of, and limits are read from the last to the first, so whatever a frame refers to arrives before it (cycles excepted).
Resuming is asking again from the mirrors' own ends. What carries the parcels (a Ray streaming generator, a function call) is not
known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tori.bus.transport import CHUNK_BYTES, chunks
from tori.clock import SECOND_NS, Clock, SystemClock
from tori.errors import JournalError, JournalMissing, ToriError
from tori.journal.files import SYSTEM_FILES, Files
from tori.journal.mirror import Mark, Mirror, start_of
from tori.journal.reader import JournalReader
from tori.journal.wake import sleeper_for

CATCH_UP_BYTES = 1_000_000
"""Size of a chunk when a mirror is far behind: fewer, larger objects."""
FAR_BEHIND_BYTES = 8 * CHUNK_BYTES
HEARTBEAT_S = 2.0
"""A silent stream says this often that it is alive; a network that swallows packets says nothing at all."""
MAX_STREAM_S = 600.0
"""A stream ends by itself after this long, and is asked for again: one whose reader is gone without a word must not stay."""


class Parcel(NamedTuple):
    """What a stream carries: frames of one journal, a reason why there are none, or (without a name) a sign of life."""

    journal: str = ""
    offset: int = 0
    frames: bytes = b""
    error: ToriError | None = None
    begin: int = 0
    """Where this stream of the journal began: a mirror that holds nothing yet must not begin behind it."""


class _Source:
    """One journal on its way to one peer."""

    def __init__(self, directory: Path, mark: Mark, files: Files) -> None:
        self.reader = JournalReader(directory, files=files)
        self._mark = mark
        self._at: int | None = None
        self._begin = 0

    @property
    def has_work(self) -> bool:
        limit = self.reader.limit()
        return limit > 0 if self._at is None else limit > self._at

    def parcels(self, limit: int) -> Iterator[Parcel]:
        """Yield the durable frames up to ``limit``; raises JournalError when the mirror cannot be served."""
        if not limit:
            return  # nobody has written it yet, or its next writer is just taking it over
        if self._at is None:
            self._at = self._begin = start_of(self.reader, self._mark)
        size = CATCH_UP_BYTES if limit - self._at > FAR_BEHIND_BYTES else CHUNK_BYTES
        for chunk in chunks(self.reader, self._at, size, limit):
            yield Parcel(self.reader.name, self._at, chunk, begin=self._begin)
            self._at += len(chunk)


class Sender:
    """The source's side of one stream. Iterate it in one thread; ``close`` from any other ends the iteration."""

    def __init__(
        self,
        directory_of: Callable[[str], Path],
        marks: Mapping[str, Mark],
        clock: Clock | None = None,
        max_stream_s: float = MAX_STREAM_S,
        *,
        files: Files = SYSTEM_FILES,
    ) -> None:
        self._clock = clock or SystemClock()
        self._end_ns = self._clock.monotonic_ns() + round(max_stream_s * SECOND_NS)
        self._is_closed = False
        self._sources: dict[str, _Source] = {}
        self._refusals: list[Parcel] = []
        self._sleeper = sleeper_for(files)
        for name, mark in marks.items():
            directory = directory_of(name)
            try:
                self._sources[name] = _Source(directory, mark, files)
                self._sleeper.register(directory)
            except (JournalError, FileNotFoundError) as error:
                self._refuse(name, error)

    def _refuse(self, name: str, error: Exception) -> None:
        known = error if isinstance(error, ToriError) else JournalMissing(f"there is no journal {name}: {error}.")
        self._refusals.append(Parcel(name, error=known))
        source = self._sources.pop(name, None)
        if source is not None:
            source.reader.close()

    def __iter__(self) -> Iterator[Parcel]:
        try:
            while not self._is_over:
                is_silent = True
                for parcel in self._sweep():
                    is_silent = False
                    yield parcel
                if is_silent:
                    self._sleeper.sleep(self._has_reason, HEARTBEAT_S)
                    if not self._has_reason():
                        yield Parcel()
        finally:
            self._sleeper.close()
            for source in self._sources.values():
                source.reader.close()

    @property
    def _is_over(self) -> bool:
        return self._is_closed or self._clock.monotonic_ns() >= self._end_ns

    def _has_reason(self) -> bool:
        return self._is_closed or any(source.has_work for source in self._sources.values())

    def _sweep(self) -> Iterator[Parcel]:
        """Yield what there is of every journal, causes before effects."""
        limits = {name: source.reader.limit() for name, source in reversed(self._sources.items())}
        for name, limit in reversed(limits.items()):
            try:
                yield from self._sources[name].parcels(limit)
            except JournalError as error:
                self._refuse(name, error)
        refusals, self._refusals = self._refusals, []
        yield from refusals

    def close(self) -> None:
        """End the stream: its reader asks anew, or is gone."""
        self._is_closed = True
        self._sleeper.interrupt()


class Receiver:
    """The mirrors one node keeps of another's journals. One thread at a time."""

    def __init__(self, root: Path, segment_bytes: int, *, files: Files = SYSTEM_FILES) -> None:
        self._root = root
        self._segment_bytes = segment_bytes
        self._files = files
        self._mirrors: dict[str, Mirror] = {}
        self.problems: dict[str, str] = {}
        """By journal: why it gets nothing now."""

    def want(self, journals: Mapping[str, bytes]) -> None:
        """Keep mirrors of exactly these journals, given with their ids and in the order in which a sweep sends them."""
        for name in set(self._mirrors) - set(journals):
            self._mirrors.pop(name).close()
            self.problems.pop(name, None)
        kept, self._mirrors = self._mirrors, {}
        for name, journal_id in journals.items():
            mirror = kept.get(name)
            if mirror is not None and mirror.journal_id != journal_id:
                mirror.close()
                mirror = None
            try:
                self._mirrors[name] = mirror or self._open(self._root / name, journal_id)
            except (JournalError, OSError) as error:
                self.problems[name] = str(error)

    def _open(self, directory: Path, journal_id: bytes) -> Mirror:
        return Mirror(directory, journal_id, segment_bytes=self._segment_bytes, files=self._files)

    def marks(self) -> dict[str, Mark]:
        """Return from where each journal is wanted."""
        return {name: mirror.resume() for name, mirror in self._mirrors.items()}

    def positions(self) -> dict[str, tuple[int, int]]:
        """Return (offset, sequence) on disk by journal."""
        return {name: (m.mark.offset, m.mark.sequence) for name, m in list(self._mirrors.items())}

    def take(self, parcel: Parcel) -> None:
        """Write what a parcel carries, synced; raises JournalError when its frames cannot be taken: ask again then."""
        if not parcel.journal:
            return
        if parcel.error is not None:
            self.problems[parcel.journal] = str(parcel.error)
            return
        mirror = self._mirrors.get(parcel.journal)
        if mirror is not None:
            mirror.take(parcel.frames, parcel.offset, parcel.begin)
            self.problems.pop(parcel.journal, None)

    def close(self) -> None:
        for mirror in self._mirrors.values():
            mirror.close()
        self._mirrors.clear()
