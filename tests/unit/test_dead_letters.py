"""Dead letters as facts, in the module's book and in the projection: list, filter, redrive, purge, on the command line too."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.local_backend import LocalBackend, LocalClient
from tests.support.picky import Picky, create
from tests.unit.test_cli import Shell
from tori.bus import dead_letter
from tori.bus.projection import DeadLetters
from tori.clock import VirtualClock
from tori.errors import BadInput
from tori.events.document import Document
from tori.events.envelope import Event
from tori.events.system import DeliveryDeadLettered, ErrorOccurred, SubscriptionLagged
from tori.local import LocalSystem
from tori.metrics.collect import module_samples
from tori.metrics.sample import Sample
from tori.modules.open import projection_path
from tori.orchestrator.ledger import Ledger

MODULES = ("clients", "scars")


def open_mind(home: Path | None = None, clock: VirtualClock | None = None) -> LocalSystem:
    clock = clock or VirtualClock()
    return LocalSystem(home, modules=MODULES, create=create, clock=clock, wait=clock.advance)


def feed(mind: LocalSystem, good: int = 6, poison: int = 3) -> None:
    documents = [Document(f"good-{n}", "", f"text {n}") for n in range(good)]
    documents += [Document(f"bad-{n}", "", f"poison {n}") for n in range(poison)]
    mind.ingest(documents, batch=4)
    mind.settle()


@pytest.fixture
def mended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Picky, "is_mended", True)


def test_the_book_and_the_projection_agree(tmp_path: Path) -> None:
    with open_mind(tmp_path) as mind:
        feed(mind)
        assert mind.query("scars", "summary") == {"taken": 6}
        book = mind.query("scars", "dead_letters", {"filter": "", "limit": 10})
        assert (book["matched"], book["kept"], book["forgotten"], book["held"]) == (3, 3, 0, 0)
        listed = mind.dead_letters()
        assert [r["id"] for r in reversed(listed["letters"])] == [r["id"] for r in book["letters"]]
        row = listed["letters"][0]
        assert (row["module"], row["source"], row["key"], row["error_type"]) == (
            "scars",
            "clients",
            "bad-2",
            "PermanentError",
        )
        assert (row["state"], row["attempts"], row["type"]) == ("dead", 1, "DocumentIngested")
        assert mind.archive.read(bytes.fromhex(row["event_id"])).key == "bad-2"
        assert any("taste" in line for line in row["story"]), "it says where the handler stood"
        assert mind.query("scars", "dead_letters", {"filter": "key=bad-1"})["matched"] == 1
        assert mind.dead_letters("error~swallowed key=bad-[0-9]")["matched"] == 0
        assert mind.dead_letters('error~"be SWALLOWED" key=bad-?', 1)["matched"] == 3


def test_redrive_is_a_new_delivery_that_survives_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualClock()
    with open_mind(tmp_path, clock) as mind:
        feed(mind)
        ids = [r["id"] for r in mind.query("scars", "dead_letters")["letters"]]
        dry = mind.command("scars", "redrive", {"filter": "", "dry_run": True})
        assert (dry["letters"], dry["dry_run"]) == (ids, True)
        assert mind.query("scars", "dead_letters")["kept"] == 3
        assert mind.command("scars", "redrive", {"ids": ids[:1]})["letters"] == ids[:1]
        mind.settle()
        states = {r["key"]: r["state"] for r in reversed(mind.dead_letters()["letters"])}
        assert mind.dead_letters()["states"] == {"dead": 3, "failed again": 1}, "it was not mended"
        assert states["bad-0"] == "dead"
        monkeypatch.setattr(Picky, "is_mended", True)
        newest = mind.query("scars", "dead_letters")["letters"]
        snapshots = mind.snapshots()
        mind.command("scars", "redrive", {"ids": [newest[0]["id"]]})
    with LocalSystem(tmp_path, modules=MODULES, create=create, clock=clock, snapshots=snapshots) as mind:
        assert mind.hosts["scars"].lag == 1, "the redrive was recorded, and waits"
        mind.settle()
        assert mind.query("scars", "summary") == {"taken": 7}
        again = mind.command("scars", "redrive", {"ids": [newest[0]["id"]]})
        assert (again["letters"], again["unknown"]) == ([], [newest[0]["id"]]), "safe to repeat"
        mind.command("scars", "redrive", {"filter": "module=scars", "rate_per_s": 2.0})
        assert mind.hosts["scars"].step() == 1, "one now, the other half a second later"
        assert not mind.hosts["scars"].has_work
        clock.advance(0.6)
        mind.pump()
        assert mind.query("scars", "summary") == {"taken": 9}
        assert mind.dead_letters()["states"] == {"failed again": 1, "delivered": 3}
        digest = mind.digests()["scars"]
    with LocalSystem(tmp_path, modules=MODULES, create=create, clock=clock) as mind:
        assert mind.digests()["scars"] == digest


def test_redriving_equals_never_failing(mended: None) -> None:
    with open_mind() as mind:
        feed(mind)
        smooth = mind.digests()
    with open_mind() as mind, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Picky, "is_mended", False)
        feed(mind)
        assert mind.digests() != smooth
        patch.setattr(Picky, "is_mended", True)
        mind.command("scars", "redrive", {"filter": ""})
        mind.settle()
        assert mind.digests() == smooth


def test_purge_gives_letters_up(tmp_path: Path) -> None:
    with open_mind(tmp_path) as mind:
        feed(mind)
        assert len(mind.command("scars", "purge", {"filter": "key=bad-1"})["letters"]) == 1
        assert mind.dead_letters()["states"] == {"dead": 2, "purged": 1}
        for wrong in ({}, {"ids": [], "filter": ""}, {"ids": ["xyz"]}, {"filter": "colour=red"}):
            with pytest.raises(BadInput):
                mind.command("scars", "purge", wrong)
        with pytest.raises(BadInput):
            mind.command("scars", "redrive", {"filter": "", "rate_per_s": -1})
    with open_mind(tmp_path) as mind:
        assert mind.query("scars", "dead_letters")["kept"] == 2


@pytest.mark.parametrize("harm", ["missing", "damaged", "other version", "other journals"])
def test_the_projection_is_built_again(tmp_path: Path, harm: str) -> None:
    path = projection_path(tmp_path)
    with open_mind(tmp_path) as mind:
        feed(mind)
        mind.command("scars", "purge", {"filter": "key=bad-1"})
        before = mind.dead_letters()
    if harm == "missing":
        path.unlink()
    elif harm == "damaged":
        path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    else:
        db = sqlite3.connect(path)
        db.execute("PRAGMA user_version=99" if harm == "other version" else "UPDATE journal SET id = x'00'")
        db.execute("UPDATE letter SET state = 'nonsense'")
        db.commit()
        db.close()
    with open_mind(tmp_path) as mind:
        assert mind.dead_letters() == before


def test_the_book_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letter, "MAX_LETTERS", 2)
    with open_mind() as mind:
        feed(mind)
        found = mind.query("scars", "dead_letters")
        assert (found["kept"], found["forgotten"]) == (2, 1)
        assert mind.dead_letters()["matched"] == 3, "the projection still shows it"
        screen = DeadLetters()
        screen.refresh(mind.archive.readers)
        assert screen.show(mind.dead_letters()["letters"][2]["id"])["key"] == "bad-0"
        with pytest.raises(BadInput):
            screen.show("00" * 16)
        screen.close()


# -- the command line ------------------------------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    backend = LocalBackend()
    monkeypatch.setenv("TORI_HOME", str(tmp_path))
    monkeypatch.setattr("tori.cli.session.load_backend", lambda: backend)
    with open_mind() as mind:
        feed(mind)
        backend.client = LocalClient(mind)
        yield Shell(tmp_path, capsys, monkeypatch)


def test_dlq_on_the_command_line(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = shell.json("dlq", "list", "--module", "scars", "--error", "swallowed")
    assert listed["matched"] == 3
    assert "3 dead" in shell("dlq", "list")[1]
    assert "No dead letters fit" in shell("dlq", "list", "--key", "good-*")[1]
    letter = listed["letters"][0]
    shown = shell.json("dlq", "show", letter["id"])
    assert shown["event"]["payload"]["document_id"] == letter["key"]
    assert "PermanentError" in shell("dlq", "show", letter["event_id"])[1]
    assert shell.json("dlq", "redrive", "--all", "--dry-run")["redriven"] == 3
    assert shell.json("dlq", "list")["states"] == {"dead": 3}
    monkeypatch.setattr(Picky, "is_mended", True)
    assert shell.json("dlq", "redrive", letter["id"])["redriven"] == 1
    code, _, err = shell("dlq", "redrive", letter["id"])
    assert (code, "redriven already" in err) == (65, True)
    assert "1 dead letters redriven" in shell("dlq", "redrive", "--key", "bad-1", "--rate", "10")[1]
    assert shell.json("dlq", "purge", "--filter", "module=scars")["purged"] == 1
    assert shell.json("dlq", "list")["states"] == {"redriven": 2, "purged": 1}
    assert "No dead letters were chosen" in shell("dlq", "purge", "--all")[1]
    for words in (
        ("dlq", "redrive"),
        ("dlq", "purge", letter["id"], "--all"),
        ("dlq", "show", "nonsense"),
        ("dlq", "show", "00" * 16),
        ("dlq", "list", "--filter", "colour=red"),
        ("dlq", "redrive", "--all", "--rate", "-1"),
    ):
        assert shell(*words)[0] == 65, words


def test_events_on_the_command_line(shell: Shell) -> None:
    found = shell.json("events", "--type", "DocumentIngested", "--key", "bad-*")
    assert [e["key"] for e in found["events"]] == ["bad-0", "bad-1", "bad-2"]
    assert found["is_complete"]
    one = found["events"][0]
    assert shell.json("events", "--correlation", one["correlation"])["events"] == [one]
    assert shell.json("events", "--filter", f"cause={one['id']}")["events"][0]["type"] == "DeliveryDeadLettered"
    assert len(shell.json("events", "--source", "scars", "--limit", "4")["events"]) == 4
    assert shell.json("events", "--since", "2030-01-01")["events"] == []
    assert "DocumentIngested" in shell("events")[1]
    assert shell("events", "--filter", "time=yesterday")[0] == 65


def test_dead_letters_and_lags_are_problems_that_status_tells() -> None:
    ledger = Ledger()
    letter = DeliveryDeadLettered("braid", "reader", 4, 3, "no", "KeyError", bytes(16), "ConceptAdded", key="c-1")
    for number, payload in enumerate(
        (letter, SubscriptionLagged("braid", "clients", 9, 5), ErrorOccurred("E", "x", "m"))
    ):
        ledger.apply(Event(bytes([number] * 16), payload))
    told = [(p["subject"], p["message"]) for p in ledger.query("problems", {})]
    assert told == [
        ("braid", "ConceptAdded c-1: KeyError: no"),
        ("braid", "lagging, 9 events behind clients"),
        ("m", "x"),
    ]
    module = {"name": "braid", "state": "running", "restarts": 0, "lag": 0, "events": 1, "consumed": 1, "busy_s": 0.0}
    samples = module_samples(module | {"late_wakes": 0, "summary": {}, "dead_letters_ever": 3})
    assert Sample("tori_dead_letters", 3.0, ("braid",)) in samples
