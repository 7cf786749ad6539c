"""The questions of a ``SystemClient`` that a system in this process answers by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tori.journal.view import event_rows, newest_rows, story_rows
from tori.local.system import LocalSystem


class LocalAnswers:
    """What can be asked of a ``LocalSystem`` without changing it."""

    def __init__(self, mind: LocalSystem) -> None:
        self.mind = mind

    def query(self, module: str, name: str, arguments: Mapping[str, Any]) -> Any:
        return self.mind.query(module, name, arguments)

    def digest(self) -> dict[str, Any]:
        return {"digest": self.mind.digest(), "sections": self.mind.digests()}

    def why(self, event_id: str) -> list[dict[str, Any]]:
        return story_rows(self.mind.archive, event_id)

    def find(self, identifier: str) -> str | None:
        for host in self.mind.hosts.values():
            found = host.module.query("find", {"id": identifier})
            if found:
                return str(found["event_id"])
        return None

    def tail(self, count: int, types: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        return newest_rows(self.mind.archive, count, types)

    def since(self, offsets: Mapping[str, int], count: int, types: tuple[str, ...] = ()) -> dict[str, Any]:
        return event_rows(self.mind.archive, offsets or dict.fromkeys(self.mind.hosts, 0), count, types)

    def events(self, text: str, limit: int) -> dict[str, Any]:
        return self.mind.events(text, limit)

    def dead_letters(self, text: str, limit: int) -> dict[str, Any]:
        return self.mind.dead_letters(text, limit)
