"""Watching an actor: one watcher at a time, however many orchestrators died over it; what ended it is told and logged."""

from __future__ import annotations

import io
import json
import logging
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.logging import JsonFormatter
from actors.module import ModuleActor, ShellConfig
from actors.watch import ENDED, REPLACED
from tori.settings import load_settings

PATIENCE_S = 10.0
DEATHS = 8


class Watcher(threading.Thread):
    """An orchestrator's pending call."""

    def __init__(self, actor: ModuleActor, epoch: int, turn: int = 0) -> None:
        super().__init__(daemon=True)
        self._actor, self._epoch, self._turn = actor, epoch, turn
        self.outcome: queue.Queue[Any] = queue.Queue()
        self.start()

    def run(self) -> None:
        try:
            self.outcome.put(self._actor.watch(self._epoch, self._turn))
        except Exception as error:
            self.outcome.put(error)


@pytest.fixture
def actor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleActor]:
    for name in ("tori", "actors"):  # the actor configures them; they are put back afterwards
        for field in ("handlers", "level", "propagate"):
            monkeypatch.setattr(logging.getLogger(name), field, getattr(logging.getLogger(name), field))
    settings = load_settings(tmp_path).plain()
    actor = ModuleActor(ShellConfig(str(tmp_path), "clients", 1 << 20, settings=settings))
    actor.ready()
    yield actor
    actor.stop()


def test_eight_orchestrators_that_died_leave_one_watcher(actor: ModuleActor) -> None:
    watchers = [Watcher(actor, epoch) for epoch in range(1, DEATHS + 1)]
    newest = watchers.pop()
    assert [w.outcome.get(timeout=PATIENCE_S) for w in watchers] == [REPLACED] * (DEATHS - 1)
    assert newest.outcome.empty()
    assert Watcher(actor, 3).outcome.get(timeout=PATIENCE_S) is REPLACED, "an old one that comes late waits for nothing"
    actor.stop()
    assert newest.outcome.get(timeout=PATIENCE_S) is ENDED


def test_a_call_made_again_takes_the_place_of_the_one_that_was_lost(actor: ModuleActor) -> None:
    lost = [Watcher(actor, 5, turn) for turn in range(DEATHS)]
    newest = lost.pop()
    assert [w.outcome.get(timeout=PATIENCE_S) for w in lost] == [REPLACED] * (DEATHS - 1), "no thread is kept"
    actor.stop()
    assert newest.outcome.get(timeout=PATIENCE_S) is ENDED


def test_a_restored_module_is_watched_on(actor: ModuleActor) -> None:
    watcher = Watcher(actor, 1)
    actor.restore(actor.snapshot())
    assert actor.query("summary", {})["documents"] == 0
    assert watcher.outcome.empty()
    actor.stop()
    assert watcher.outcome.get(timeout=PATIENCE_S) is ENDED


def test_the_traceback_of_a_loop_that_died_is_logged(actor: ModuleActor) -> None:
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(JsonFormatter())
    logging.getLogger("tori").addHandler(handler)
    watcher = Watcher(actor, 1)

    def out_of_memory() -> int:
        raise MemoryError("no memory for one more batch")

    actor.loop.call(lambda host: setattr(host, "step", out_of_memory))
    error = watcher.outcome.get(timeout=PATIENCE_S)
    assert isinstance(error, MemoryError)
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    (line,) = [line for line in lines if line["level"] == "error"]
    assert line["message"] == "the loop of clients ended: no memory for one more batch"
    assert "out_of_memory" in line["traceback"]
