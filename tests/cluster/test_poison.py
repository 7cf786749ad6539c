"""A handler that kills its process and one that hangs in C: two dead letters, nobody else harmed, and a redrive brings them in."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

from actors.backend import RayBackend
from actors.client import RayClient
from tests.support.poisoned_scars import DEADLY, HANGING, MENDED
from tests.support.system import batches, small_corpus, system_settings
from tori.bus.producer import Producer
from tori.events.document import Document
from tori.events.system import CustomEvent
from tori.local import LocalSystem

WINDOW_S = 8.0
"""Window of the restarts in this test: suspects wait for it, and four minutes would be long."""


def corpus() -> list[Document]:
    documents = small_corpus(24)
    for number, words in ((7, DEADLY), (15, HANGING)):
        documents[number] = msgspec.structs.replace(
            documents[number], text=f"{documents[number].text} It holds {words}."
        )
    return documents


def wait_letters(client: RayClient, count: int, timeout_s: float = 120.0) -> list[dict[str, object]]:
    deadline = time.monotonic() + timeout_s
    while True:
        found: list[dict[str, object]] = client.dead_letters("module=scars", 10)["letters"]
        if len(found) >= count:
            return found
        states = {m["name"]: (m["state"], m["restarts"], m["lag"]) for m in client.status()["modules"]}
        assert states["scars"][0] != "degraded", states
        assert time.monotonic() < deadline, f"{len(found)} dead letters after {timeout_s} s: {states}"
        time.sleep(0.2)


@pytest.fixture
def poisoned(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the defect into every process of the cluster; return the file that mends it."""
    mended = home / "mended"
    folder = Path(__file__).parents[1] / "support" / "poisoned"
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep))
    monkeypatch.setenv(MENDED, str(mended))
    return mended


def test_poison_ends_as_dead_letters_and_harms_nobody(home: Path, poisoned: Path) -> None:
    documents = corpus()
    with LocalSystem() as mind:
        mind.ingest(documents)
        mind.quiesce()
        undisturbed = mind.digests()
    settings = system_settings(
        home, **{"limits.handler_timeout_s": 1.5, "limits.restart_window_s": WINDOW_S, "limits.restarts": 5}
    )
    backend = RayBackend()
    backend.up(settings, None)
    client = backend.connect(settings, None)
    for batch in batches(documents, 8):
        client.ingest(batch)
    letters = wait_letters(client, 2)
    assert {letter["key"]: letter["error_type"] for letter in letters} == {
        documents[7].id: "HandlerDied",
        documents[15].id: "HandlerTimeout",
    }
    assert {letter["attempts"] for letter in letters} == {3}
    settled = client.quiesce()
    assert settled["sections"]["braid"] == undisturbed["braid"]
    restarts = {m["name"]: m["restarts"] for m in client.status()["modules"]}
    assert restarts.pop("scars") >= 6, "each of them took its process down alone three times"
    assert set(restarts.values()) == {0}, "nobody else was harmed"

    dry = client.command("scars", "redrive", {"filter": "", "dry_run": True})
    assert len(dry["letters"]) == 2
    poisoned.touch()
    assert len(client.command("scars", "redrive", {"filter": "", "rate_per_s": 10.0})["letters"]) == 2
    assert client.quiesce()["sections"] == undisturbed, "as if nothing had ever failed"
    assert client.dead_letters("", 10)["states"] == {"delivered": 2}
    _producers(client)
    assert client.events("type=DeliveryDeadLettered source=scars", 10)["events"][0]["payload"]["subscriber"] == "scars"
    assert backend.down(settings, None)


def _producers(client: RayClient) -> None:
    """A producer's publish, made twice, is there once."""
    producer = Producer(client, "thermometer")
    receipt = producer.publish(CustomEvent("reading", {"celsius": 21}), key="kitchen")
    from tori.bus.producer import encode_payloads

    data = encode_payloads([(CustomEvent("reading", {"celsius": 21}), "kitchen")])
    assert client.publish("thermometer", producer.incarnation, 0, data) == receipt
    assert len(client.events("type=CustomEvent source=clients", 10)["events"]) == 1
