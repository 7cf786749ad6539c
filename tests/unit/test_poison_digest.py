"""A mind with poison in it has one digest, whether its processes died over it or not, and redriving mends all of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from tests.support.delivery import ProcessDeath
from tests.support.system import small_corpus
from tori.clock import VirtualClock
from tori.errors import PermanentError
from tori.events.document import Document
from tori.events.envelope import Event
from tori.events.mind import DocumentIngested
from tori.local import LocalSystem
from tori.modules.base import Context, Fact, Module
from tori.modules.reader import Reader
from tori.modules.registry import create_module


class World:
    """What the reader meets: poison, and deaths at random."""

    def __init__(self, deaths: int = 0, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.deaths = deaths
        self.is_mended = False

    def create(self, name: str) -> Module:
        return PoisonedReader(self) if name == "reader" else create_module(name)


class PoisonedReader(Reader):
    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        if self._world.deaths and self._world.rng.random() < 0.4:
            self._world.deaths -= 1
            raise ProcessDeath
        for event in batch:
            is_poison = isinstance(event.payload, DocumentIngested) and "poison" in event.payload.text
            if is_poison and not self._world.is_mended:
                raise PermanentError("poison.")
        return super().decide(batch, context)


def corpus() -> list[Document]:
    documents = small_corpus(16)
    for number in (3, 11):
        documents[number] = msgspec.structs.replace(
            documents[number], text=documents[number].text + " There is poison."
        )
    return documents


def live(home: Path | None, world: World) -> tuple[dict[str, str], list[str]]:
    """Feed the corpus, restart the system at every death; return the digests and the keys of the dead letters."""
    clock = VirtualClock()
    waiting = [corpus()[i : i + 4] for i in range(0, 16, 4)]
    while True:
        with LocalSystem(home, create=world.create, clock=clock, wait=clock.advance) as mind:
            try:
                while waiting:
                    mind.ingest(waiting[0])
                    mind.pump()
                    waiting.pop(0)
                mind.quiesce()
            except ProcessDeath:
                clock.advance(1.0)
                continue
            letters = mind.dead_letters("module=reader")["letters"]
            digests = mind.digests()
            world.is_mended = True
            mind.command("reader", "redrive", {"filter": ""})
            mind.quiesce()
            return digests | {f"mended {k}": d for k, d in mind.digests().items()}, sorted(r["key"] for r in letters)


@pytest.fixture(scope="module")
def undisturbed() -> tuple[dict[str, str], list[str]]:
    return live(None, World())


@pytest.mark.parametrize("seed", range(3))
def test_deaths_change_no_digest(tmp_path: Path, undisturbed: tuple[dict[str, str], list[str]], seed: int) -> None:
    world = World(deaths=6, seed=seed)
    assert live(tmp_path, world) == undisturbed
    assert world.deaths < 6, "it died at least once"


def test_a_redrive_is_as_good_as_never_failing(undisturbed: tuple[dict[str, str], list[str]]) -> None:
    digests, letters = undisturbed
    assert letters == sorted(d.id for d in corpus() if "poison" in d.text)
    with LocalSystem() as mind:
        mind.ingest(corpus())
        mind.quiesce()
        assert {f"mended {k}": d for k, d in mind.digests().items()} == {
            k: d for k, d in digests.items() if k.startswith("mended")
        }
        assert mind.digests()["reader"] != digests["reader"]
