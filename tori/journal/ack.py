"""What an acknowledgement of a journal promises: that the unit is on disk, or that it survives the death of this process.

Visibility is the reader's, not the writer's: whoever stores a cursor or emits reads durable frames only. With ``os`` these
follow within the delay of the fallback commit, so nobody waits for a sync and nothing stays undurable for long.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tori.journal.files import SYSTEM_FILES, Files
from tori.journal.writer import JournalWriter


class OsAckWriter(JournalWriter):
    """A writer that acknowledges what is written: ``commit(offset)`` returns at once, and the fallback commit syncs soon.

    ``commit()`` without an offset still returns when everything written is on disk: a snapshot that names a position must not
    be ahead of a journal after power loss. After a sync that failed, appending is refused as ever.
    """

    def commit(self, offset: int | None = None) -> None:
        if offset is None:
            super().commit()


def open_writer(
    directory: Path, *, segment_bytes: int, settings: Mapping[str, Any] | None = None, files: Files = SYSTEM_FILES
) -> JournalWriter:
    """Return the writer that the section ``journal`` of the settings asks for; None = the defaults."""
    chosen = settings or {}
    if chosen.get("ack", "disk") == "os":
        return OsAckWriter(directory, segment_bytes=segment_bytes, fallback_s=chosen["fallback_commit_s"], files=files)
    return JournalWriter(directory, segment_bytes=segment_bytes, fallback_s=None, files=files)
