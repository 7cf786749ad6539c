"""One protection of the product taken away at a time: what the simulator must notice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from tori.bus import stream
from tori.bus.producer import ProducerBook
from tori.journal import mirror, reader, recovery
from tori.journal.follower import Cursor, Follower, Readable
from tori.journal.frame import CURSOR, Frame
from tori.journal.mirror import Mark, Mirror
from tori.journal.mirror_words import MirrorWords
from tori.journal.reader import JournalReader, Visibility
from tori.journal.writer import JournalWriter
from tori.modules.clients import Clients
from tori.modules.host import ModuleHost


class _Equal(int):
    """A checksum that fits everything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


def ack_before_sync(patch: pytest.MonkeyPatch) -> None:
    """The durable position is announced without a sync."""

    def commit(self: JournalWriter, offset: int | None = None) -> None:
        self._publish_durable(self._written, self.next_sequence)

    patch.setattr(JournalWriter, "commit", commit)


def skip_crc(patch: pytest.MonkeyPatch) -> None:
    """Bodies of frames are believed."""
    believer = SimpleNamespace(crc32=lambda data: _Equal())
    patch.setattr(reader, "zlib", believer)
    patch.setattr(recovery, "zlib", believer)


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """A writer does not look whether the journal still belongs to it."""
    patch.setattr(JournalWriter, "_check_epoch", lambda self: None)


def no_dedupe(patch: pytest.MonkeyPatch) -> None:
    """The clients' module takes everything for new."""
    patch.setattr(Clients, "_content", lambda self, document_id: b"")


def no_numbers(patch: pytest.MonkeyPatch) -> None:
    """The numbers of producers are not looked at."""
    patch.setattr(ProducerBook, "check", lambda self, origin, incarnation, seq, digest: None)


def skip_what_fails(patch: pytest.MonkeyPatch) -> None:
    """An event whose handler raised is passed over, and told to nobody."""
    patch.setattr(ModuleHost, "bury", lambda self, taken, payload: self.courier.pending.discard(taken.entry.place))


def cursor_before_effect(patch: pytest.MonkeyPatch) -> None:
    """What was consumed is stored, durably, before what follows from it."""
    append = JournalWriter.append

    def append_apart(self: JournalWriter, frames: Sequence[Frame]) -> Any:
        cursors = [frame for frame in frames if frame.kind == CURSOR]
        effects = [frame for frame in frames if frame.kind != CURSOR]
        if cursors and effects:
            self.commit(append(self, cursors).end)
            return append(self, effects)
        return append(self, frames)

    patch.setattr(JournalWriter, "append", append_apart)


def read_undurable(patch: pytest.MonkeyPatch) -> None:
    """Modules take what is written and not yet on the disk."""
    begin = Follower.__init__

    def begin_early(self: Follower, source: Readable, cursor: Cursor | None = None, **options: Any) -> None:
        begin(self, source, cursor, **(options | {"visibility": "written"}))

    patch.setattr(Follower, "__init__", begin_early)


def sync_again(patch: pytest.MonkeyPatch) -> None:
    """After a failed sync the same file is synced again, and believed."""

    def lead(self: JournalWriter) -> None:
        target, sequence = self._written, self.next_sequence
        for file in (*self._older, self._segment.file):
            try:
                file.fdatasync()
            except OSError:
                file.fdatasync()
        self._pending.clear()
        self._publish_durable(target, sequence)

    patch.setattr(JournalWriter, "_lead", lead)


def believe_old_words(patch: pytest.MonkeyPatch) -> None:
    """Position words that a loss of power left are taken for those of today."""
    patch.setattr(reader.JournalReader, "_is_past", lambda self, table: False)


def announce_before_sync(patch: pytest.MonkeyPatch) -> None:
    """A mirror says that it holds what it has only written."""
    patch.setattr(Mirror, "_sync", lambda self: self._close_unsynced())


def resume_from_written(patch: pytest.MonkeyPatch) -> None:
    """A mirror whose sync failed asks for what follows what it had written."""

    def resume(self: Mirror) -> Mark:
        return self._written

    patch.setattr(Mirror, "resume", resume)


def believe_the_cache(patch: pytest.MonkeyPatch) -> None:
    """A mirror that is opened again takes for synced whatever it can read."""
    patch.setattr(MirrorWords, "told", lambda self: None)


def begin_anywhere(patch: pytest.MonkeyPatch) -> None:
    """A mirror that holds nothing yet begins with what comes first."""
    checked = Mirror._checked
    patch.setattr(Mirror, "_checked", lambda self, chunk, offset, begin: checked(self, chunk, offset, None))


def believe_the_wire(patch: pytest.MonkeyPatch) -> None:
    """Bodies of frames are written into a mirror as they come."""
    patch.setattr(mirror, "zlib", SimpleNamespace(crc32=lambda data: _Equal()))


def ship_undurable(patch: pytest.MonkeyPatch) -> None:
    """A source sends what is written and not yet on its disk."""

    class Hasty(JournalReader):
        def limit(self, visibility: Visibility = "written") -> int:
            return super().limit("written")

    patch.setattr(stream, "JournalReader", Hasty)


SABOTAGES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    sabotage.__name__: sabotage
    for sabotage in (
        ack_before_sync,
        skip_crc,
        no_fence,
        no_dedupe,
        no_numbers,
        skip_what_fails,
        cursor_before_effect,
        read_undurable,
        sync_again,
        believe_old_words,
    )
}

SABOTAGES_OF_MIRRORS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    sabotage.__name__: sabotage
    for sabotage in (
        announce_before_sync,
        resume_from_written,
        believe_the_cache,
        begin_anywhere,
        believe_the_wire,
        ship_undurable,
    )
}
