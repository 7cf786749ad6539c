"""The command line over the in-process runtime: what it prints, as text and as JSON, and how it exits."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.machine_client import MachineBackend
from tests.support.system import small_corpus
from tori.checkpoint.manifest import Manifest
from tori.checkpoint.remote import UrlStore
from tori.checkpoint.store import CheckpointStore
from tori.cli import main as entry
from tori.cli.lifecycle import status_table
from tori.events.document import Document
from tori.events.system import CustomEvent
from tori.scheduler.logs import RunLogs


class Shell:
    """Runs ``tori ...`` in this process."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self._capsys, self._patch = home, capsys, monkeypatch

    def __call__(self, *words: str) -> tuple[int, str, str]:
        self._patch.setattr(sys, "argv", ["tori", *words])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        printed = self._capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    def json(self, *words: str) -> dict[str, Any]:
        code, out, err = self(*words, "--json")
        assert code == 0, err
        lines = [line for line in out.splitlines() if line]
        assert len(lines) == 1
        found: dict[str, Any] = json.loads(lines[0])
        return found


@pytest.fixture(scope="module")
def backend() -> MachineBackend:
    return MachineBackend()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("notes")
    lines = [
        json.dumps({"id": d.id, "title": d.title, "text": d.text, "time": d.time_ns / 1e9, "links": list(d.links)})
        for d in small_corpus()
        if d.time_ns is not None
    ]
    (place / "notes.jsonl").write_text("\n".join([*lines[:5], "{broken", *lines[5:]]) + "\n")
    return place


@pytest.fixture
def shell(
    tmp_path: Path, backend: MachineBackend, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    monkeypatch.setenv("TORI_HOME", str(tmp_path))
    monkeypatch.setattr("tori.cli.session.load_backend", lambda: backend)
    return Shell(tmp_path, capsys, monkeypatch)


def test_nothing_runs_yet(shell: Shell) -> None:
    code, out, err = shell("status", "--json")
    assert code == 69
    assert json.loads(out)["error"] == "NotRunning"
    assert "tori up" in err
    assert shell("down")[1] == "Nothing was running.\n"


def test_the_whole_way(shell: Shell, folder: Path) -> None:
    place = shell.json("up")
    assert set(place) >= {"url", "address", "namespace", "state_dir"}
    assert place["url"] is None
    assert "TORI runs" in shell("up")[1]
    fed = shell.json("ingest", str(folder / "notes.jsonl"))
    assert (fed["accepted"], fed["refused"]) == (48, 1)
    assert "line 6" in fed["refusals"][0]
    code, out, err = shell("ingest", str(folder / "notes.jsonl"))
    assert code == 0
    assert "48 known already" in out
    assert "refused" in err
    digest = shell.json("quiesce")["digest"]
    assert digest in shell("quiesce")[1]
    assert shell.json("digest")["digest"] == digest
    assert "reader" in shell("digest")[1]

    answers = shell.json("ask", "what about the sourdough starter?")["answers"]
    assert set(answers[0]) >= {"id", "score", "quote", "why"}
    assert answers[0]["id"] in shell("ask", "what about the sourdough starter?")[1]
    nodes = shell.json("map")["nodes"]
    assert set(nodes[0]) >= {"id", "label", "scale", "parent", "size"}
    assert "topics" in shell("map")[1]
    assert all(n["scale"] == 1 for n in shell.json("map", "--scale", "1")["nodes"])
    for name in ("bridges", "gaps", "aliens"):
        found = shell.json(name)
        assert set(found) >= {"tested", "items"}
        assert found["items"] or found["reason"]
        assert shell(name)[0] == 0
    story = shell.json("why", nodes[0]["id"])["nodes"]
    assert set(story[0]) >= {"id", "type", "source", "time", "causes"}
    assert "DocumentIngested" in {row["type"] for row in story}
    assert "ConceptAdded" in shell("why", nodes[0]["id"])[1]
    status = shell.json("status")
    assert set(status) >= {"state", "modules", "nodes", "events_per_s", "refs_routed"}
    assert "48 documents" in shell("status")[1]
    assert set(shell.json("report")) >= {"map", "status", "bridges"}
    assert "The map" in shell("report")[1]


def test_tail(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = shell.json("tail", "-n", "3")["events"]
    assert len(rows) == 3
    assert "DocumentIngested" in shell("tail", "--type", "DocumentIngested", "-n", "2")[1]

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tori.cli.ask.time.sleep", interrupt)
    code, out, err = shell("tail", "-f", "-n", "60", "--json")
    assert code == 130
    assert len(out.splitlines()) > 48
    assert "run the same command again" in err
    assert time.monotonic() > 0


def test_tasks(shell: Shell) -> None:
    assert {row["task_id"] for row in shell.json("task", "list")["tasks"]} >= {"alien_audit", "state_persistence"}
    run = shell.json("task", "run", "alien_audit")
    assert run["state"] == "succeeded"
    assert run["run_id"] in shell("task", "list")[1]
    assert shell.json("why", run["run_id"])["nodes"][0]["payload"]["run_id"] == run["run_id"]
    assert "alien_audit-" in shell("task", "run", "alien_audit")[1]
    shell("task", "run", "state_persistence")
    told = shell("task", "list")[1]
    assert (told.count("  alien_audit-"), told.count("  state_persistence-")) == (1, 1), "of each its last"
    assert shell.json("task", "cancel", run["run_id"])["state"] == "succeeded", "it had ended: it is left as it is"
    assert "succeeded" in shell("task", "cancel", run["run_id"])[1]
    story = shell.json("task", "story", run["run_id"])
    assert [line["text"].partition(":")[0] for line in story["story"]][:2] == ["due", "due -> admitted"]
    told = shell("task", "story", run["run_id"])[1]
    assert "of alien_audit: succeeded" in told
    assert "running -> succeeded" in told
    assert shell("task", "hold")[1].strip() == "Nothing is held."
    code, _, err = shell("task", "story", "nobody")
    assert (code, "tori task list" in err) == (65, True)
    code, _, err = shell("task", "run", "nonsense")
    assert (code, "alien_audit" in err) == (65, True)
    code, _, err = shell("task", "cancel", "nobody")
    assert (code, "tori task list" in err) == (65, True)


def test_what_a_run_printed_is_shown(shell: Shell, backend: MachineBackend) -> None:
    assert backend.client is not None
    run_id = shell.json("task", "run", "alien_audit")["run_id"]
    code, out, err = shell("task", "logs", run_id)
    assert (code, out, "Nothing was printed" in err) == (0, "", True)
    logs = RunLogs(backend.client.home)
    logs.add(run_id, 1, b"[bold]as it is[/]\n")
    assert shell("task", "logs", run_id)[1] == "[bold]as it is[/]\n"
    assert shell.json("task", "logs", run_id, "--attempt", "1")["logs"] == [
        {"attempt": 1, "text": "[bold]as it is[/]\n"}
    ]
    code, _, err = shell("task", "logs", run_id, "--attempt", "2")
    assert (code, "has had 1 attempts" in err) == (65, True)
    code, _, err = shell("task", "logs", "nobody")
    assert (code, "tori task list" in err) == (65, True)
    logs.add("of long ago", 1, b"one")
    logs.add("of long ago", 3, b"three\n")
    code, out, err = shell("task", "logs", "of long ago")
    assert (code, out, err.split()) == (0, "one\nthree\n", ["attempt", "1:", "attempt", "3:"])


def _states(shell: Shell) -> dict[str, str]:
    status = shell.json("status")
    return {m["name"]: m["state"] for m in status["modules"]} | {"system": status["state"]}


def test_pauses(shell: Shell) -> None:
    assert "Paused: alien" in shell("pause", "alien")[1]
    assert {name for name, state in _states(shell).items() if state == "paused"} == {"alien"}
    code, _, err = shell("quiesce")
    assert (code, "alien paused" in err) == (70, True)
    assert shell.json("resume", "alien")["paused"] is False
    assert set(_states(shell).values()) == {"running"}
    assert shell("pause", "nobody")[0] == 65
    shell("pause")
    assert set(_states(shell).values()) == {"paused"}
    assert "alien_audit" in shell("task", "list")[1].split("held:")[1]
    assert "alien_audit" in shell("task", "list")[1].split("held:")[1]
    assert "the system is paused: tori resume" in shell("task", "list")[1]
    waiting = shell.json("task", "run", "alien_audit")
    assert waiting["state"] == "due", "it waits"
    held = {row["id"]: row["held_by"] for row in shell.json("task", "hold")["held"]}
    assert held[waiting["run_id"]] == "the scheduler is paused"
    assert held["alien_audit"] == "the system is paused: tori resume"
    assert f"{waiting['run_id']}: the scheduler is paused" in shell("task", "hold")[1]
    assert shell.json("resume")["paused"] is False
    assert shell.json("task", "list")["runs"][-1]["state"] == "succeeded", "what waited has run"
    assert set(_states(shell).values()) == {"running"}


def test_one_task_is_paused(shell: Shell) -> None:
    def is_paused() -> dict[str, bool]:
        return {row["task_id"]: row["paused"] for row in shell.json("task", "list")["tasks"] if row["paused"]}

    assert shell.json("task", "pause", "alien_audit") == {"task_id": "alien_audit", "paused": True}
    assert is_paused() == {"alien_audit": True}
    assert shell.json("task", "run", "alien_audit")["state"] == "succeeded", "asking runs it all the same"
    assert "it runs as it is due" in shell("task", "resume", "alien_audit")[1]
    assert is_paused() == {}
    assert "paused, until tori task resume" in shell("task", "pause", "alien_audit")[1]
    for word in ("pause", "resume"):
        code, _, err = shell("task", word, "nonsense")
        assert (code, "there is no task 'nonsense'" in err, "alien_audit" in err) == (65, True, True)


def test_a_pause_outlives_a_stop(shell: Shell, backend: MachineBackend) -> None:
    client = backend.client
    assert client is not None
    shell("pause")
    client.stop()
    backend.client = type(client)(client.home)
    assert set(_states(shell).values()) == {"paused"}
    shell("resume")
    assert set(_states(shell).values()) == {"running"}
    assert shell.json("quiesce")["digest"]


def test_checkpoints(shell: Shell, backend: MachineBackend) -> None:
    assert backend.client is not None
    digest = shell.json("digest")["digest"]
    first = shell.json("checkpoint")["checkpoint_id"]
    newest = shell.json("checkpoint")["checkpoint_id"]
    assert shell("checkpoint")[1].startswith("Checkpoint checkpoint-")
    listed = [row["checkpoint_id"] for row in shell.json("checkpoint", "--list")["checkpoints"]]
    assert {first, newest} < set(listed)
    assert newest in shell("checkpoint", "--list")[1]
    restored = shell.json("restore", first)
    assert (restored["checkpoint_id"], restored["digest"]) == (first, digest)
    folder = backend.client.home / "checkpoints" / listed[0]
    (folder / "braid.snapshot").write_bytes(b"nonsense")
    assert shell("restore", listed[0])[0] == 65
    code, out, err = shell("restore")
    assert (code, listed[1] in out, digest in out) == (0, True, True)
    assert f"passed over {listed[0]}" in err


def _home(backend: MachineBackend) -> str:
    assert backend.client is not None
    return str(backend.client.home)


def test_a_past_moment_is_compared_and_asked(shell: Shell, backend: MachineBackend, folder: Path) -> None:
    assert backend.client is not None
    home = _home(backend)
    old = shell.json("checkpoint")["checkpoint_id"]
    before = shell.json("digest")
    backend.client.command("clients", "say", {"payload": CustomEvent("note", {})})
    backend.client.ingest(msgspec.msgpack.encode([Document("late-1", "Late", "The oven temperature is late. " * 20)]))
    new = shell.json("checkpoint")["checkpoint_id"]
    assert [row["checkpoint_id"] for row in shell.json("checkpoint", "list")["checkpoints"]][:2] == [new, old]

    changes = {row["module"]: row for row in shell.json("checkpoint", "diff", old, new, "--home", home)["modules"]}
    assert changes["clients"]["counts"]["documents"][1] == changes["clients"]["counts"]["documents"][0] + 1
    assert changes["clients"]["is_changed"] and changes["clients"]["before"]["digest"] == before["sections"]["clients"]
    assert not changes["fuzzing"]["is_changed"]
    assert "documents" in shell("checkpoint", "diff", old, new, "--home", home)[1]
    assert shell("checkpoint", "diff", old, "checkpoint-0", "--home", home)[0] == 65

    rewound = shell.json("rewind", old, "--home", home)
    assert (rewound["checkpoint_id"], rewound["sections"]["clients"]) == (old, before["sections"]["clients"])
    copy = rewound["home"]
    assert shell.json("digest", "--home", copy)["digest"] == rewound["digest"]
    assert shell.json("status", "--home", copy)["state"] == "rewound"
    assert shell("status", "--home", copy)[0] == 0
    assert shell.json("map", "--home", copy)["nodes"]
    assert shell.json("ask", "what about the oven?", "--home", copy)["answers"]
    assert shell("report", "--home", copy)[0] == 0
    assert shell.json("tail", "--home", copy)["events"]
    for words in (
        ("ingest", str(folder / "notes.jsonl")),
        ("quiesce",),
        ("pause",),
        ("checkpoint",),
        ("restore",),
        ("up",),
    ):
        code, _, err = shell(*words, "--home", copy)
        assert (code, "read-only copy" in err) == (65, True), err
    assert shell.json("rewind", "-0s", "--home", home, "--settle")["settled"]
    for words, sentence in ((("2999-01-01",), "future"), (("1999-01-01",), "nothing is kept"), (("soon",), "no time")):
        code, _, err = shell("rewind", *words, "--home", home)
        assert (code, sentence in err) == (65, True), err


def test_a_checkpoint_is_fetched_from_its_copy(shell: Shell, backend: MachineBackend) -> None:
    home, old = _home(backend), shell.json("checkpoint")["checkpoint_id"]
    assert shell("checkpoint", "fetch", old, "--home", home)[0] == 65
    (Path(home) / "tori.toml").write_text(f'[checkpoint]\nurl = "file://{home}/far"\n')
    UrlStore(f"file://{home}/far").put(CheckpointStore(Path(home) / "checkpoints"), _manifest(home, old))
    shutil.rmtree(Path(home) / "checkpoints" / old)
    assert shell.json("checkpoint", "verify", "--url", "--home", home)["damaged"] == 0
    assert shell.json("checkpoint", "fetch", old, "--home", home)["checkpoint_id"] == old
    assert "Fetched" in shell("checkpoint", "fetch", old, "--home", home)[1]
    assert shell.json("checkpoint", "verify", old, "--home", home)["damaged"] == 0


def test_a_past_moment_takes_the_place_of_the_present(shell: Shell, backend: MachineBackend) -> None:
    assert backend.client is not None
    home, old = _home(backend), shell.json("checkpoint")["checkpoint_id"]
    before = shell.json("digest")
    backend.client.ingest(msgspec.msgpack.encode([Document("later-1", "Later", "The rye flour is later. " * 20)]))
    assert shell("rewind", old, "--home", home, "--in-place", "--settle")[0] == 65
    placed = shell.json("rewind", old, "--home", home, "--in-place")
    assert placed["restarted"]
    assert Path(placed["past"], "journals/clients").is_dir()
    assert shell.json("digest")["sections"]["clients"] == before["sections"]["clients"]
    assert "stands where it stood" in shell("rewind", "0s", "--home", home, "--in-place")[1]


def test_what_is_corrupt_is_named_and_put_into_quarantine(shell: Shell, backend: MachineBackend) -> None:
    home = _home(backend)
    old, new = (shell.json("checkpoint")["checkpoint_id"] for _ in range(2))
    kept = Path(home) / "checkpoints"
    assert shell.json("checkpoint", "verify", new, "--home", home)["damaged"] == 0
    (kept / new / "alien.snapshot").write_bytes(b"nonsense")
    (kept / old / "manifest.json").write_bytes(b"{}")
    code, out, _ = shell("checkpoint", "verify", "--home", home, "--json")
    rows = {row["checkpoint_id"]: row["problems"] for row in json.loads(out)["checkpoints"]}
    assert (code, [p["module"] for p in rows[new]], [p["module"] for p in rows[old]]) == (74, ["alien"], [""])
    assert not (kept / new / "alien.snapshot").exists() and not (kept / old).exists()
    assert {f"{new}.alien.snapshot", old} < {path.name for path in (kept / "quarantine").iterdir()}
    code, out, _ = shell("checkpoint", "verify", new, "--home", home)
    assert (code, "alien" in out) == (74, True), "what is gone was forgotten"


def _manifest(home: str, checkpoint_id: str) -> Manifest:
    return CheckpointStore(Path(home) / "checkpoints").manifest(checkpoint_id)


def test_bad_input_is_named(shell: Shell, tmp_path: Path) -> None:
    for words, sentence in (
        (("ask", " "), "question is empty"),
        (("ask", "x", "--top", "0"), "--top"),
        (("why", "nonsense"), "nonsense"),
        (("ingest", str(tmp_path / "nowhere")), "nowhere"),
        (("tail", "--type", "ConceptAded"), "ConceptAdded"),
        (("accept", "w-nothing"), "w-nothing"),
        (("reject", "w-nothing"), "w-nothing"),
    ):
        code, _, err = shell(*words)
        assert code == 65, (words, err)
        assert sentence in err
    assert shell("frobnicate")[0] == 2
    (tmp_path / "bad.jsonl").write_text("{broken\n")
    assert shell("ingest", str(tmp_path / "bad.jsonl"))[0] == 65


def test_throttle_and_emergency_stop(shell: Shell) -> None:
    assert "Low and background tasks wait" in shell("throttle", "high", "--reason", "a demo")[1]
    held = shell("task", "run", "memory_cleanup")[1]
    assert "it waits: background runs wait: pressure is high (throttled by hand, a demo)" in held
    assert "--force begins it now" in held
    assert "held back: throttled by hand, a demo" in shell("status")[1]
    assert shell.json("task", "run", "memory_cleanup", "--force")["run_id"].startswith("memory_cleanup")
    assert "It was high." in shell("throttle", "off")[1]
    code, _, err = shell("throttle", "slow")
    assert code == 65
    assert "Levels: off, high, severe" in err

    assert "Nothing begins in the background" in shell("emergency-stop", "--reason", "smoke")[1]
    assert "emergency stop" in shell("status")[1]
    assert "emergency stop (smoke): tori resume" in shell("task", "run", "alien_audit")[1]
    assert shell.json("emergency-stop")["old"] == "stopped"
    shell("resume")
    assert "emergency stop" not in shell("status")[1]


def test_settings_and_doctor(shell: Shell, tmp_path: Path) -> None:
    assert shell.json("config", "check")["valid"] is True
    assert "valid" in shell("config", "check")[1]
    assert any(row["name"] == "journal.ack" for row in shell.json("config", "show")["settings"])
    assert "journal.ack" in shell("config", "show")[1]
    (tmp_path / "tori.toml").write_text("[journal]\nsegment_size_byte = 1\n")
    code, _, err = shell("config", "check")
    assert code == 78
    assert "segment_size_bytes" in err
    (tmp_path / "tori.toml").unlink()
    assert shell.json("doctor")["findings"]
    assert "python" in shell("doctor")[1]
    assert shell("version")[0] == 0


def test_demo_and_down(shell: Shell, folder: Path) -> None:
    assert shell("down")[1] == "Stopped.\n"
    summary = shell.json("demo", "--source", str(folder / "notes.jsonl"))
    wanted = "documents concepts threads bridges gaps aliens events seconds digest state_dir"
    assert set(summary) >= set(wanted.split())
    assert summary["documents"] == 48
    code, out, _ = shell("demo", "--source", str(folder / "notes.jsonl"), "--keep")
    assert code == 0
    assert "TORI read 48 documents" in out
    assert "Still running" in out
    assert shell.json("down")["stopped"] is True


def test_settings_are_shown_with_their_reasons_in_one_piece(shell: Shell) -> None:
    lines = shell("config", "show")[1].splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("journal.fallback_commit_s = 0.002 s"))
    assert lines[at + 1].strip().startswith("Events nobody waits for are synced this much later")


def test_a_termination_ends_like_an_interruption(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def terminated() -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("tori.cli.session.load_backend", terminated)
    try:
        code, _, err = shell("status")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert code == 130
    assert "what was acknowledged is kept" in err


def test_a_status_says_what_each_module_holds_and_what_it_found_none_of() -> None:
    summaries = {
        "reader": {"documents": 48, "concepts": 0, "candidate_bytes": 1188},
        "alien": {"aliens": 0, "standing": 0, "tested": 225, "reason": ""},
        "guest": {"things": 3, "others": 0, "text_bytes": 9},
        "fuzzing": {},
    }
    modules = [
        {"name": name, "state": "running", "restarts": 0, "lag": 0, "events": 0, "summary": summary}
        for name, summary in summaries.items()
    ]
    column = list(status_table({"modules": modules}).columns[-1].cells)
    assert column == ["48 documents, 0 concepts", "0 aliens, 0 standing, 225 tested", "3 things", "-"]


def test_a_defect_says_so(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("tori.cli.session.load_backend", broken)
    code, _, err = shell("status")
    assert code == 70
    assert "boom" in err
    assert "defect" in err
    code, out, _ = shell("status", "--json")
    assert code == 70
    assert json.loads(out) == {"error": "RuntimeError", "message": "a defect in TORI: boom"}


@pytest.mark.parametrize("words", [("frobnicate",), ("status", "--frobnicate"), ("task", "run")])
def test_a_wrong_command_line_is_one_object_with_json(shell: Shell, words: tuple[str, ...]) -> None:
    code, out, err = shell(*words, "--json")
    assert code == 2
    assert json.loads(out)["error"] == "UsageError"
    assert "tori --help" in err
