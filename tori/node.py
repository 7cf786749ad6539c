"""What a node is called: a name that stays when Ray, the machine's address or the process change, because it lies in the home."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import msgspec

from tori.errors import JournalError

_FILE = "node.json"


class NodeRecord(msgspec.Struct, frozen=True):
    """Content of ``node.json``."""

    node_id: str


def node_id(home: Path) -> str:
    """Return the name of the node whose home this is; it is made once. Raises JournalError for a file that does not decode."""
    path = home / _FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=NodeRecord).node_id
    except FileNotFoundError:
        return _make(path)
    except msgspec.DecodeError as error:
        raise JournalError(
            f"{path} does not say which node this is: {error}.",
            remedy="Restore it from a copy; `tori status` on the head names the nodes.",
        ) from error


def _make(path: Path) -> str:
    record = NodeRecord(uuid.uuid4().hex)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{_FILE}.{os.getpid()}.new")
    with temporary.open("wb") as file:
        file.write(msgspec.json.encode(record))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return record.node_id
