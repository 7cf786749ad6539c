"""The shell of a module in a reload, both ends in one process: what is handed over, what is refused meanwhile, what is taken back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
import ray

from actors.fold import Order, fold_order
from actors.module import ModuleActor, ShellConfig
from actors.watch import ENDED
from tests.support.system import audit, batches, small_corpus
from tori.errors import Unavailable
from tori.modules.base import Module, SelfCheckFailed
from tori.modules.host_state import HostSnapshot

CORPUS = small_corpus(12)


class Pair:
    """The actor that has the module, and its successor."""

    def __init__(self, home: Path) -> None:
        self.config = ShellConfig(str(home), "clients", 1 << 20)
        self.old = ModuleActor(self.config)
        self.old.ready()
        self.new = ModuleActor(msgspec.structs.replace(self.config, incarnation=2, succeeds=True))

    def feed(self, actor: ModuleActor, documents: list[Any]) -> None:
        for batch in batches(documents, 2):
            actor.command("ingest", {"documents": batch})

    def switch(self) -> None:
        self.new.rehearse()
        handover = self.old.hand_over()
        self.new.take_over(handover, [self.old.last_section()])


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    monkeypatch.setattr(ray, "get", lambda ref, timeout: ref)
    with ExitStack() as stack:
        found = Pair(tmp_path)
        for actor in (found.old, found.new):
            stack.callback(actor.stop)
        yield found


def test_the_successor_takes_over_and_the_old_one_is_out(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="another actor has the module"):
        pair.new.ready()
    pair.feed(pair.old, CORPUS[:6])
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(pair.old.watch, 1)
        pair.switch()
        assert not watching.done(), "its end is meant: nobody is told of it"
        assert pair.new.ready()["incarnation"] == 2
        for gone in (pair.old.ready, pair.old.settle, pair.old.section):
            with pytest.raises(Unavailable):
                gone()
        pair.feed(pair.new, CORPUS[6:])
        pair.old._watch.guard(pair.old.loop, lambda: None)
        assert watching.result(10.0) is ENDED
    pair.new.stop()
    audit(tmp_path, CORPUS)


def test_what_was_handed_over_is_taken_back(pair: Pair, tmp_path: Path) -> None:
    assert pair.old.take_back() == pair.old.view(), "nothing was handed over: nothing happens"
    pair.feed(pair.old, CORPUS[:6])
    pair.old.pause(paused=True)
    handover = pair.old.hand_over()
    assert handover.is_paused
    view = pair.old.take_back()
    assert view.offset > handover.offset, "its next epoch"
    assert pair.old.loop.is_paused
    pair.feed(pair.old, CORPUS[6:])
    pair.old.stop()
    audit(tmp_path, CORPUS)


def test_a_successor_that_refuses_itself_leaves_the_journal_free(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(module: Module, before: str | None, version: int) -> None:
        raise SelfCheckFailed("no")

    pair.feed(pair.old, CORPUS[:6])
    monkeypatch.setattr(Module, "self_check", refuse)
    with pytest.raises(SelfCheckFailed):
        pair.switch()
    pair.old.take_back()
    pair.feed(pair.old, CORPUS[6:])
    pair.old.stop()
    audit(tmp_path, CORPUS)


def test_a_module_that_is_busy_is_not_handed_over_later(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.succession.HAND_OVER_S", 0.01)
    begun, gate = threading.Event(), threading.Event()
    busy = pair.old.loop.submit(lambda host: begun.set() or gate.wait(10.0))
    assert begun.wait(10.0)
    with pytest.raises(Unavailable, match="was busy"):
        pair.old.hand_over()
    gate.set()
    assert busy.result(10.0)
    pair.feed(pair.old, CORPUS)
    assert pair.old.ready()["incarnation"] == 1
    pair.old.stop()
    audit(tmp_path, CORPUS)


def test_a_fold_beside_a_module_runs_its_code_or_leaves_it_to_the_module(pair: Pair, tmp_path: Path) -> None:
    pair.feed(pair.old, CORPUS[:4])
    position = pair.old.position()
    assert position.code == pair.old.code
    folded = fold_order(tmp_path, Order(position, {}), None, {})
    assert folded.state == msgspec.msgpack.decode(pair.old.snapshot(), type=HostSnapshot).state
    refused = msgspec.structs.replace(position, code="refused")
    with pytest.raises(Unavailable, match="runs other code than is installed"):
        fold_order(tmp_path, Order(refused, {}), None, {})
