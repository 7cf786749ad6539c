"""A person's day with ``tori``: from nothing to answers, through interruptions, to a clean stop, and on the next morning."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Person, lines_of
from tests.support.system import small_corpus

LINES = 640
"""Documents of an ingest that is interrupted: twenty batches."""
FINDINGS = {"bridges": "wormhole_id", "gaps": "scar_id", "aliens": "alien_id"}


def notes_in(folder: Path) -> Path:
    """Write 48 notes as files, one that is broken, and one of a kind that is not read."""
    folder.mkdir()
    for document in small_corpus():
        (folder / f"{document.id}.md").write_text(f"# {document.title}\n\n{document.text}\n")
    (folder / "broken.md").write_bytes(b"# A title\n\nhalf a character: \xe2\x82")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    return folder


def log_in(folder: Path, name: str) -> str:
    """Write many short documents as JSON Lines."""
    rows = [{"id": f"{name}-{i:04d}", "text": f"Line {i} of the {name} was written by hand."} for i in range(LINES)]
    return lines_of(name, rows, folder)


def test_before_anything_runs(person: Person, tmp_path: Path) -> None:
    found = person.json("doctor", keys="healthy findings")
    assert found["healthy"] is True
    assert {"python", "home", "disk", "fdatasync"} <= {f["subject"] for f in found["findings"]}
    assert person.json("config", "check", keys="valid home") == {"valid": True, "home": str(person.home)}
    assert person("version").code == 0
    for words in (("ask", "anything"), ("ingest", str(notes_in(tmp_path / "notes")))):
        outcome = person(*words)
        assert outcome.code == 69, (words, outcome)
        assert "Start it with tori up" in outcome.err
        assert outcome.out == ""
    assert person.json("status", code=69, keys="error message")["error"] == "NotRunning"
    assert person.json("down") == {"stopped": False, "problems": []}
    assert not (person.home / "journals").exists(), "asking starts nothing"


def test_what_is_typed_wrong_is_named(person: Person, tmp_path: Path) -> None:
    for words, code, sentence in (
        (("frobnicate",), 2, "frobnicate"),
        (("ask",), 2, "question"),
        (("task", "run"), 2, "task"),
        (("ask", "what", "--top", "many"), 2, "--top"),
        (("ingest", str(tmp_path / "nowhere")), 65, "nowhere"),
    ):
        outcome = person(*words)
        assert outcome.code == code, (words, outcome)
        assert sentence in outcome.err, (words, outcome)
        assert "Traceback" not in outcome.err
    (person.home / "tori.toml").write_text("[journal]\nsegment_size_byte = 1\n")
    outcome = person("config", "check")
    assert outcome.code == 78
    assert "segment_size_bytes" in outcome.err


def test_a_day(person: Person, tmp_path: Path) -> None:
    begin(person)
    feed(person, notes_in(tmp_path / "notes"))
    interrupt(person, tmp_path)
    digest = think(person)
    answers = ask(person)
    work(person)
    end_and_come_back(person, digest, answers)


def begin(person: Person) -> None:
    (person.home / "tori.toml").write_text("[journal]\nsegment_size_bytes = 1_048_576\n")
    place = person.json("up", keys="url address namespace state_dir")
    assert (place["url"], place["namespace"], place["state_dir"]) == (None, "tori", str(person.home))
    assert place["address"].startswith("127.0.0.1:")
    assert person.json("up")["address"] == place["address"], "up found what it had started"
    status = person.json("status", keys="state modules nodes events_per_s refs_routed")
    assert status["state"] == "running"
    assert len(status["nodes"]) == 1
    assert all(m.keys() >= {"name", "state", "restarts", "lag", "events"} for m in status["modules"])
    empty = person.json("bridges", keys="tested items reason")
    assert (empty["tested"], empty["items"]) == (0, [])
    assert empty["reason"]


def feed(person: Person, folder: Path) -> None:
    fed = person.json("ingest", str(folder))
    assert (fed["accepted"], fed["duplicates"], fed["refused"]) == (48, 0, 1)
    assert "broken.md" in fed["refusals"][0]
    again = person("ingest", str(folder))
    assert again.code == 0
    assert "0 documents taken, 48 known already, 1 refused" in again.out
    assert "broken.md" in again.err


def interrupt(person: Person, folder: Path) -> None:
    """Ctrl-C in the middle of one ingest, kill -9 in the middle of another: both are simply run again."""
    for name, number, code in (("diary", signal.SIGINT, 130), ("ledger", signal.SIGKILL, -signal.SIGKILL)):
        source = log_in(folder, name)
        before = person.taken()
        outcome = person.interrupted(number, "ingest", source)
        assert outcome.code == code, outcome
        if number is signal.SIGINT:
            assert "run the same command again" in outcome.err
            assert "Traceback" not in outcome.err
        again = person.json("ingest", source)
        assert again["accepted"] + again["duplicates"] == LINES
        assert again["duplicates"] > 0, "what had arrived was kept"
        assert again["accepted"] > 0, "the interruption came in the middle"
        assert person.taken() - before == LINES, "every document once"


def think(person: Person) -> str:
    digest: str = person.json("quiesce", keys="digest")["digest"]
    assert len(digest) == 64
    assert person.json("digest", keys="digest sections")["digest"] == digest
    modules = {m["name"]: m for m in person.json("status")["modules"]}
    assert modules["clients"]["summary"]["documents"] == 48 + 2 * LINES
    assert {m["lag"] for m in modules.values()} == {0}
    return digest


def ask(person: Person) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = person.json("ask", "what about the sourdough starter?", keys="answers")["answers"]
    assert answers[0].keys() >= {"id", "score", "quote", "why"}
    assert answers[0]["id"].startswith("kitchen-")
    assert [a["score"] for a in answers] == sorted((a["score"] for a in answers), reverse=True)
    story = person.json("why", answers[0]["why"], keys="nodes")["nodes"]
    assert story[0].keys() >= {"id", "type", "source", "time", "causes"}
    assert (story[0]["type"], story[0]["source"]) == ("DocumentIngested", "clients")
    assert answers[0]["quote"] in story[0]["payload"]["text"]
    assert person.json("why", answers[0]["id"])["nodes"] == story, "a document is found by its own id as well"
    nodes = person.json("map", keys="nodes")["nodes"]
    assert nodes[0].keys() >= {"id", "label", "scale", "parent", "size"}
    told = person("why", nodes[0]["id"])
    assert told.code == 0
    assert "DocumentIngested" in told.out
    for name, key in FINDINGS.items():
        found = person.json(name, keys="tested items reason")
        assert found["items"] or found["reason"]
        assert all(item[key] for item in found["items"])
    report = person("report")
    assert report.code == 0
    assert all(title in report.out for title in ("The map", "Bridges", "Alarms", "Gaps", "What each module did"))
    rows = person.json("tail", "-n", "3", "--type", "DocumentIngested", keys="events")["events"]
    assert [r["type"] for r in rows] == ["DocumentIngested"] * 3
    assert all(r["payload"]["document_id"].startswith("ledger-") for r in rows), "the newest are of the last ingest"
    missing = person("why", "nothing-of-that-name")
    assert (missing.code, missing.out) == (65, "")
    assert "nothing-of-that-name" in missing.err
    return answers


def work(person: Person) -> None:
    tasks = {t["task_id"] for t in person.json("task", "list", keys="tasks runs")["tasks"]}
    assert tasks >= {"wormhole_scan", "alien_audit", "scar_scan", "concept_fuzz_test", "state_persistence"}
    run = person.json("task", "run", "concept_fuzz_test", keys="run_id")["run_id"]
    assert person.json("task", "cancel", run, keys="run_id state")["run_id"] == run
    assert person.json("pause", "alien", keys="modules paused")["modules"] == ["alien"]
    held = person("quiesce")
    assert held.code == 70
    assert "alien is paused" in held.err
    assert "tori resume" in held.err
    assert person.json("resume", "alien", keys="modules paused")["paused"] is False


def end_and_come_back(person: Person, digest: str, answers: list[dict[str, Any]]) -> None:
    taken = person.json("checkpoint", keys="checkpoint_id modules size_bytes")
    restored = person.json("restore", taken["checkpoint_id"], keys="checkpoint_id modules digest")
    assert restored["digest"] == digest
    assert person.json("down") == {"stopped": True, "problems": []}
    assert person.json("down") == {"stopped": False, "problems": []}
    assert not (person.home / "cluster.json").exists()
    person.json("up")
    assert person.json("digest")["digest"] == digest, "everything is still there, without another pass"
    assert person.json("ask", "what about the sourdough starter?")["answers"] == answers
    assert person("down").out == "Stopped.\n"
