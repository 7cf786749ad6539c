"""The stream between two relays on real Ray: bounded, noticed when it breaks, taken up again, and its way without streams."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors import carrier
from actors.carrier import Carrier, numbered, open_stream, parcels
from actors.cluster import ClusterInfo
from actors.names import NAMESPACE
from tests.support.journals import Numbers, numbers_in, open_writer
from tests.support.machines import wait_for
from tori.bus.stream import Receiver
from tori.errors import Unavailable
from tori.journal.mirror import Mark
from tori.journal.writer import JournalWriter


class Source:
    """A relay without a module: its carrier, and a count of what it was asked to send."""

    def __init__(self, home: str) -> None:
        self._carrier = Carrier(Path(home), "source", 4096)
        self.sent = 0

    def pid(self) -> int:
        return os.getpid()

    def count(self) -> int:
        return self.sent

    def stream(self, reader: str, marks: dict[str, Mark]) -> Iterator[Any]:
        for parcel in self._carrier.stream(reader, marks):
            self.sent += 1
            yield parcel

    def silent(self, reader: str, marks: dict[str, Mark]) -> Iterator[Any]:
        time.sleep(60)
        yield None

    def begin(self, reader: str, marks: dict[str, Mark]) -> None:
        self._carrier.begin(reader, marks)

    def read(self, reader: str, number: int) -> Any:
        return self._carrier.read(reader, number)

    def hang_up(self, reader: str) -> None:
        self._carrier.hang_up(reader)


class Place:
    """A journal with an actor that serves it, and a receiver here."""

    def __init__(self, root: Path) -> None:
        import ray

        self.root = root
        self.numbers = Numbers()
        self.writer: JournalWriter = open_writer(root / "a" / "journals" / "numbers", 1 << 20)
        self.receiver = Receiver(root / "b", 1 << 20)
        self.receiver.want({"numbers": self.writer.journal_id})
        self.name = f"source-{root.name}"
        options = {"name": self.name, "namespace": NAMESPACE, "lifetime": "detached", "max_concurrency": 8}
        self.remote = ray.remote(num_cpus=0, **options)(Source)
        self.actor = self.remote.remote(str(root / "a"))

    def write(self, units: int, size: int) -> None:
        for _ in range(units):
            self.writer.append(self.numbers.frames(size))
        self.writer.commit()

    def here(self) -> list[int]:
        return numbers_in(self.root / "b" / "numbers")

    def close(self) -> None:
        import ray

        ray.kill(self.actor)
        self.receiver.close()
        self.writer.close()


@pytest.fixture
def place(tmp_path: Path, shared_cluster: ClusterInfo) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


def test_a_sender_is_never_more_than_eight_ahead(place: Place) -> None:
    """Pins the private option: without it everything would be sent at once."""
    import ray

    place.write(60, 1000)
    stream = open_stream(place.actor, "reader", place.receiver.marks())
    assert stream is not None, "this Ray does not know _generator_backpressure_num_objects"
    incoming = parcels(stream)
    place.receiver.take(next(incoming))
    time.sleep(1.0)
    assert ray.get(place.actor.count.remote()) <= carrier.AHEAD + 2
    while len(place.here()) < 60_000:
        place.receiver.take(next(incoming))
    assert place.here() == list(range(60_000))


def test_a_killed_peer_is_noticed_and_the_stream_taken_up_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    place.write(3, 100)
    pid = ray.get(place.actor.pid.remote())
    receiver = Receiver(place.root / "c", 1 << 20)
    line = carrier.Line("reader", place.name, {"numbers": place.writer.journal_id}, receiver)
    copy = place.root / "c" / "numbers"
    try:
        wait_for(lambda: receiver.positions().get("numbers", (0, 0))[1] == 300, 10, "300 numbers are mirrored")
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: place.name in line.problems(), 2, "the death is noticed")
        place.write(3, 100)
        ray.kill(place.actor)

        def start_again() -> bool:
            try:
                place.actor = place.remote.remote(str(place.root / "a"))
            except ValueError:  # the name is not free yet
                return False
            return True

        wait_for(start_again, 10, "a new peer of the same name")
        wait_for(lambda: receiver.positions()["numbers"][1] == 600, 10, "the rest is mirrored")
        assert line.problems() == {}
    finally:
        line.close()
    assert numbers_in(copy) == list(range(600))


def test_silence_is_noticed(place: Place) -> None:
    stream = place.actor.silent.options(num_returns="streaming").remote("reader", {})
    with pytest.raises(Unavailable, match=r"nothing came for 0\.3 s"):
        next(parcels(stream, silence_s=0.3))


def test_the_way_without_streams_carries_the_same(place: Place) -> None:
    place.write(20, 1000)
    for parcel in numbered(place.actor, "reader", place.receiver.marks()):
        place.receiver.take(parcel)
        if len(place.here()) == 20_000:
            break
    assert place.here() == list(range(20_000))


def test_a_ray_without_the_private_option_is_recognised() -> None:
    class Method:
        def options(self, **options: Any) -> Any:
            raise ValueError(f"Invalid option keyword {sorted(options)[0]} for actors.")

    class Peer:
        stream = Method()

    assert open_stream(Peer(), "reader", {}) is None
