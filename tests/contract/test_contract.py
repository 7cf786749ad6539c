"""What every runtime promises, run on both: in one process, and as actors on Ray.

The tests of this file share one system a runtime. Each brings documents of its own and leaves the system running.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.contract.runtime import Runtime
from tests.support.story import check_story, findings
from tests.support.system import events_of
from tori.errors import BadInput, IllegalTransition
from tori.events.document import Document, Receipt
from tori.events.mind import DocumentIngested
from tori.events.system import CustomEvent, SystemStarted
from tori.modules.registry import FULL_PASS, START_ORDER


def texts_of(system: Runtime) -> list[tuple[str, str]]:
    """Return (id, text) of every DocumentIngested in the journal on disk, in its order, read by this process."""
    payloads = [e.payload for e in events_of(system.home, "clients")]
    return [(p.document_id, p.text) for p in payloads if isinstance(p, DocumentIngested)]


class TestIngest:
    def test_an_acknowledged_document_can_be_read_back_from_the_journal(self, system: Runtime) -> None:
        documents = system.fresh(12)
        assert system.ingest(documents) == Receipt(12, 0, ())
        assert texts_of(system)[-12:] == [(d.id, d.text) for d in documents]

    def test_the_same_content_counts_once(self, system: Runtime) -> None:
        documents = system.fresh(6)
        assert system.ingest([*documents, documents[0]]) == Receipt(6, 1, ())
        before = texts_of(system)
        assert system.ingest(documents) == Receipt(0, 6, ())
        assert texts_of(system) == before

    def test_a_changed_text_replaces_and_the_older_one_stays_readable(self, system: Runtime) -> None:
        (document,) = system.fresh(1)
        system.ingest([document])
        first = system.client.find(document.id)
        replaced = system.client.query("clients", "summary", {})["replaced"]
        changed = msgspec.structs.replace(document, text=f"{document.text} The last word was different.")
        assert system.ingest([changed]) == Receipt(1, 0, ())
        assert system.ingest([changed]) == Receipt(0, 1, ())
        assert system.client.query("clients", "summary", {})["replaced"] == replaced + 1
        found = system.client.find(document.id)
        assert found not in (None, first)
        assert [system.client.why(str(i))[0]["payload"]["text"] for i in (first, found)] == [
            document.text,
            changed.text,
        ]

    def test_refused_documents_are_named_and_the_others_taken(self, system: Runtime) -> None:
        first, second = system.fresh(2)
        blank, nameless, surrogate = Document("blank", "", " \n"), Document(" ", "", "x"), Document("lone\n", "", "x")
        receipt = system.ingest([first, blank, nameless, second, surrogate])
        assert (receipt.accepted, receipt.duplicates) == (2, 0)
        assert [document_id for document_id, _ in receipt.refused] == [blank.id, nameless.id, surrogate.id]
        assert all(reason for _, reason in receipt.refused)
        assert texts_of(system)[-2:] == [(first.id, first.text), (second.id, second.text)]

    @pytest.mark.parametrize("data", [b"", b"\xc1", msgspec.msgpack.encode({"id": "x"}), msgspec.msgpack.encode([[1]])])
    def test_a_batch_that_does_not_decode_is_refused_whole(self, system: Runtime, data: bytes) -> None:
        before = texts_of(system)
        with pytest.raises(BadInput, match="a batch of documents does not decode") as caught:
            system.client.ingest(data)
        assert caught.value.remedy == "Send msgpack of list[Document]."
        assert texts_of(system) == before

    def test_the_journal_keeps_the_order_of_the_batches(self, system: Runtime) -> None:
        documents = system.fresh(9)
        for start in range(0, 9, 3):
            system.ingest(documents[start : start + 3])
        assert [i for i, _ in texts_of(system)[-9:]] == [d.id for d in documents]

    def test_a_client_may_say_its_own_events_and_no_others(self, system: Runtime) -> None:
        said = system.client.command("clients", "say", {"payload": CustomEvent("measured", {"degrees": 21})})
        (row,) = system.client.why(said)
        assert (row["type"], row["payload"]) == ("CustomEvent", {"name": "measured", "data": {"degrees": 21}})
        assert row["source"] == "clients"
        with pytest.raises(BadInput, match="a client cannot emit SystemStarted"):
            system.client.command("clients", "say", {"payload": SystemStarted("cold")})


Call = Callable[[Any], Any]
REFUSED: dict[str, tuple[Call, str]] = {
    "module of a query": (lambda c: c.query("nobody", "summary", {}), "there is no module 'nobody'."),
    "module of a command": (lambda c: c.command("nobody", "ingest", {}), "there is no module 'nobody'."),
    "question": (lambda c: c.query("braid", "dance", {}), "module braid cannot answer 'dance'."),
    "command": (lambda c: c.command("clients", "dance", {}), "module clients does not know the command 'dance'."),
    "missing argument": (
        lambda c: c.command("clients", "ingest", {}),
        "command ingest needs the argument 'documents'.",
    ),
    "unknown argument": (lambda c: c.query("wormhole", "bridges", {"lmit": 1}), "unknown argument 'lmit'."),
    "argument": (lambda c: c.query("hierarchy", "map", {"scale": "x"}), "map: scale must be int, not str."),
    "empty question": (
        lambda c: c.query("braid", "ask", {"question": " "}),
        "field question: must hold 1 to 10000 characters.",
    ),
    "event id": (lambda c: c.why("xyz"), "'xyz' is not an event id."),
    "event": (lambda c: c.why("00" * 16), f"no journal here holds the event {'00' * 16}."),
    "bridge": (lambda c: c.command("wormhole", "reject", {"id": "w-0"}), "no bridge or suggestion 'w-0' stands."),
    "task": (lambda c: c.run_task("nonsense"), "there is no task 'nonsense'."),
    "module to pause": (lambda c: c.pause("nobody", paused=True), "there is no module 'nobody'."),
    "checkpoint": (lambda c: c.restore("checkpoint-0"), "there is no checkpoint 'checkpoint-0'."),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_exist_is_refused_in_the_same_words(system: Runtime, what: str) -> None:
    call, message = REFUSED[what]
    with pytest.raises(BadInput) as caught:
        call(system.client)
    assert caught.value.message == message
    assert type(caught.value) is BadInput


class TestMind:
    def test_the_digest_is_that_of_the_same_documents_in_any_order_and_batches(self, system: Runtime) -> None:
        for size in (1, 5, 6):
            system.ingest(system.fresh(size))
        first = system.client.quiesce()
        assert first["sections"] == system.undisturbed()
        again = system.client.quiesce()
        assert (again["digest"], again["sections"]) == (first["digest"], first["sections"])
        now = system.client.digest()
        assert (now["digest"], now["sections"]) == (first["digest"], first["sections"])

    def test_every_event_is_counted_and_nobody_lags_once_settled(self, system: Runtime) -> None:
        system.ingest(system.fresh(4))
        system.client.quiesce()
        modules = {m["name"]: m for m in system.client.status()["modules"]}
        assert set(modules) == {"clients", *START_ORDER}
        assert {name: (m["lag"], m["restarts"]) for name, m in modules.items()} == dict.fromkeys(modules, (0, 0))
        for name, module in modules.items():
            assert module["events"] == len(events_of(system.home, name)), name
        assert modules["clients"]["summary"]["documents"] == len(system.documents)

    def test_every_answer_quotes_the_document_its_why_names(self, system: Runtime) -> None:
        system.ingest(system.fresh(8))
        system.client.quiesce()
        for question in ("what about the sourdough starter?", "when is the garden soil dry?", "oil the engine"):
            answers = system.client.query("braid", "ask", {"question": question})["answers"]
            assert answers, question
            for answer in answers:
                assert check_story(system.client, answer["why"]) == 0, "a document quotes nobody"
                (row,) = system.client.why(answer["why"])
                assert row["payload"]["document_id"] == answer["id"]
                assert row["payload"]["text"][answer["start"] :].startswith(answer["quote"])
                assert len(answer["quote"]) > 10

    def test_every_finding_ends_in_the_documents_it_quotes(self, system: Runtime) -> None:
        system.ingest(system.fresh(8))
        system.client.quiesce()
        found = findings(system.client)
        every = [(kind, i) for kind, ids in found.items() for i in ids]
        assert {kind for kind, _ in every} >= {"concept", "map node", "thread"}
        for kind, identifier in random.Random(20).sample(every, 20):
            assert check_story(system.client, identifier) or kind in ("braid", "thread"), (kind, identifier)

    def test_things_are_found_by_the_ids_they_are_shown_with(self, system: Runtime) -> None:
        (document, *_) = documents = system.fresh(8)
        system.ingest(documents)
        system.client.quiesce()
        found = system.client.find(document.id)
        assert found is not None
        assert system.client.why(found)[0]["payload"]["document_id"] == document.id
        node = system.client.query("hierarchy", "map", {})["nodes"][0]
        event_id = system.client.find(node["id"])
        assert event_id is not None
        assert system.client.why(event_id)[0]["payload"]["concept_id"] == node["id"]
        assert system.client.find("nothing-of-that-name") is None


class TestReading:
    def test_tail_is_the_newest_in_order_of_time(self, system: Runtime) -> None:
        documents = system.fresh(5)
        system.ingest(documents)
        rows = system.client.tail(5, ("DocumentIngested",))
        assert [r["payload"]["document_id"] for r in rows] == [d.id for d in documents]
        every = system.client.tail(20, ())
        assert len(every) == 20
        assert [r["id"] for r in every] == sorted(r["id"] for r in every)

    def test_reading_resumes_where_it_stopped(self, system: Runtime) -> None:
        start = system.client.since({}, 100, ())
        assert start["events"] == [], "without a position one begins at the end"
        offsets, sent, seen = {"clients": start["offsets"]["clients"]}, [], []
        for _ in range(3):
            documents = system.fresh(4)
            system.ingest(documents)
            sent += [d.id for d in documents]
            found = system.client.since(offsets, 100, ("DocumentIngested",))
            offsets = {"clients": found["offsets"]["clients"]}
            seen += [r["payload"]["document_id"] for r in found["events"]]
        assert seen == sent
        assert system.client.since(offsets, 100, ("DocumentIngested",))["events"] == []
        behind = {"clients": start["offsets"]["clients"]}
        again = system.client.since(behind, 100, ("DocumentIngested",))["events"]
        assert [r["payload"]["document_id"] for r in again] == sent
        sequences = [int(r["position"].rpartition(":")[2]) for r in again]
        assert sequences == list(range(sequences[0], sequences[0] + len(sent)))


class TestWork:
    def test_a_task_asked_for_on_a_settled_mind_changes_nothing(self, system: Runtime) -> None:
        system.ingest(system.fresh(4))
        before = system.client.quiesce()
        for _, task in FULL_PASS:
            assert system.client.run_task(task)["run_id"].startswith(task)
        assert system.client.quiesce()["digest"] == before["digest"]

    def test_a_paused_module_takes_no_input_but_answers_and_loses_nothing(self, system: Runtime) -> None:
        known = system.client.quiesce()
        held = system.client.query("braid", "summary", {})["documents"]
        assert system.client.pause("braid", paused=True)["modules"] == ["braid"]
        documents = system.fresh(6)
        system.ingest(documents)
        read = len(system.documents)
        system.await_("reading", lambda: system.client.query("reader", "summary", {})["documents"] == read)
        assert system.client.query("braid", "summary", {})["documents"] == held
        states = {m["name"]: m["state"] for m in system.client.status()["modules"]}
        assert states == dict.fromkeys(states, "running") | {"braid": "paused"}
        with pytest.raises(IllegalTransition, match="braid (is )?paused"):
            system.client.quiesce()
        assert system.client.pause("braid", paused=False)["paused"] is False
        system.await_("catching up", lambda: system.client.query("braid", "summary", {})["documents"] == held + 6)
        settled = system.client.quiesce()
        assert settled["digest"] != known["digest"]

    def test_a_checkpoint_restores_to_the_same_mind(self, system: Runtime) -> None:
        system.ingest(system.fresh(4))
        before = system.client.quiesce()
        taken = system.client.checkpoint()
        assert taken["modules"] == sorted(("clients", *START_ORDER))
        assert system.client.checkpoints()[0]["checkpoint_id"] == taken["checkpoint_id"]
        system.ingest(system.fresh(4))
        later = system.client.quiesce()
        assert later["digest"] != before["digest"]
        restored = system.client.restore(taken["checkpoint_id"])
        assert restored["digest"] == later["digest"], "the journal after the checkpoint was not applied"
        assert system.client.restore(None)["sections"] == later["sections"]

    def test_a_restart_on_the_same_home_keeps_everything(self, system: Runtime) -> None:
        documents = system.fresh(4)
        system.ingest(documents)
        before = system.client.quiesce()
        question = {"question": "what about the violin section?"}
        answers = system.client.query("braid", "ask", question)
        found = system.client.find(documents[0].id)
        system.restart()
        assert system.client.digest()["sections"] == before["sections"], "the state came back without a new pass"
        assert system.client.find(documents[0].id) == found
        assert system.client.query("braid", "ask", question) == answers
        assert system.ingest(documents) == Receipt(0, 4, ())
        assert system.ingest(system.fresh(3)) == Receipt(3, 0, ())
        assert system.client.quiesce()["sections"] == system.undisturbed()
