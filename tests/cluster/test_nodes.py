"""Two nodes, each with a home of its own: the same mind as on one, through partitions, deaths and returns.

The system is started by the scripts of ``deploy/ray``, in network namespaces where the machine allows, else on loopback.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors import cluster
from actors.cluster import ClusterInfo
from tests.support.journals import assert_mirrored
from tests.support.machines import Driver, Machine, Network, open_files, wait_for
from tests.support.system import audit, small_corpus
from tori.events.document import Document
from tori.events.mind import DocumentIngested
from tori.events.system import FuzzTestCompleted
from tori.journal.frame import EVENTS
from tori.journal.reader import JournalReader
from tori.local import LocalSystem
from tori.node import node_id
from tori.resources.process import end, strays
from tori.sources import open_source

PARTITION_S = 20.0
HEAL_S = 10.0
SETTINGS = {
    "TORI_JOURNAL__SEGMENT_SIZE_BYTES": str(1 << 20),
    "TORI_RAY__OBJECT_STORE_BYTES": str(100 << 20),
    "TORI_RAY__START_TIMEOUT_S": "120",
    "TORI_RAY__CPUS": "2",
    "TORI_USER__TASKS": "tests.support.node_tasks",
}


class Pair:
    """The system of this file: a head, a worker, and a driver at the head."""

    def __init__(self, root: Path) -> None:
        self.network = Network(root)
        self.head = self.network.machine("head")
        self.worker = self.network.machine("worker")
        self.third = self.network.machine("third")
        self.laptop = self.network.machine("laptop")
        self.port = 6380 if self.network.has_namespaces else free_port()
        self.driver: Driver | None = None
        self.near: Driver | None = None
        """A driver at the worker."""
        self.third_joins: subprocess.Popen[bytes] | None = None
        self.settings = SETTINGS | ({"TORI_RTO_MAX_MS": "2000"} if self.network.bounds_pauses else {})

    @property
    def address(self) -> str:
        return f"{self.head.ip}:{self.port}"

    def start(self) -> None:
        up = self.head.start("deploy/ray/head.sh", self.head.ip, "2", **self.settings, TORI_RAY__PORT=str(self.port))
        wait_for(lambda: cluster.find(self.head.home) is not None, 120, f"a head; {self.head.log} says why")
        self.join(self.worker)
        assert up.wait(120) == 0, self.head.log.read_text()
        self.driver, self.near = self.head.driver(), self.worker.driver()

    def join(self, machine: Machine) -> None:
        """Let a machine join with nothing but the address and the token."""
        assert self.begin_join(machine).wait(180) == 0, machine.log.read_text()

    def begin_join(self, machine: Machine) -> subprocess.Popen[bytes]:
        token = machine.home / "ray_token"
        if not token.exists():
            token.write_bytes((self.head.home / "ray_token").read_bytes())
            token.chmod(0o600)
        return machine.start("deploy/ray/worker.sh", machine.ip, self.address, **self.settings)

    def info(self, machine: Machine) -> ClusterInfo:
        found = cluster.find(machine.home)
        assert found is not None, f"nothing runs on {machine.name}"
        return found

    def call(self, method: str, *arguments: Any, **named: Any) -> Any:
        assert self.driver is not None
        return self.driver.call(method, *arguments, **named)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.call("status")
        return found

    def states(self) -> dict[str, str]:
        return {m["name"]: m["state"] for m in self.status()["modules"]}

    def node(self, machine: Machine) -> dict[str, Any]:
        name = node_id(machine.home)
        return next(n for n in self.status()["nodes"] if n["node"] == name)

    def kill_node(self, machine: Machine) -> None:
        """kill -9 the raylet; everything it started goes with it."""
        info = self.info(machine)
        os.kill(next(p.pid for p in info.processes if p.name == "raylet"), signal.SIGKILL)

    def close(self) -> None:
        for driver in (self.driver, self.near):
            if driver is not None:
                driver.close()
        for machine in (self.third, self.worker, self.head):
            info = cluster.find(machine.home)
            if info is not None:
                cluster.stop(info)
            end(strays("ray", cluster.session_root(machine.home)), 1.0)
        self.network.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    made = Pair(tmp_path_factory.mktemp("nodes"))
    try:
        made.start()
        yield made
    finally:
        made.close()


@functools.cache
def expected(count: int) -> dict[str, str]:
    """Return the digests of the same documents read in one process."""
    with LocalSystem() as mind:
        mind.ingest(small_corpus(count))
        mind.quiesce()
        return mind.digests()


def test_modules_are_spread_and_each_knows_only_its_own_home(pair: Pair) -> None:
    status = pair.status()
    assert status["state"] == "running"
    homes = {n["node"]: n for n in status["nodes"]}
    here, there = homes[node_id(pair.head.home)], homes[node_id(pair.worker.home)]
    assert "clients" in here["modules"]
    assert len(here["modules"]) == len(there["modules"]) == 4
    for node, machine in ((here, pair.head), (there, pair.worker)):
        journals = {p.name for p in (machine.home / "journals").iterdir()} - {"orchestrator"}
        assert journals == set(node["modules"])
    assert not (pair.worker.home / "checkpoints").exists()


def test_what_a_run_prints_comes_to_the_head_from_whatever_node(pair: Pair) -> None:
    runs = [pair.call("run_task", "where")["run_id"] for _ in range(2)]
    wait_for(lambda: all(pair.call("run_story", run)["state"] == "succeeded" for run in runs), 60, "two runs")
    homes = {json.loads(pair.call("run_story", run)["result"]) for run in runs}
    assert homes == {str(pair.head.home), str(pair.worker.home)}
    logs = [pair.call("run_logs", run)["logs"] for run in runs]
    assert {one["text"] for found in logs for one in found} == {f"at {home}\n" for home in homes}
    assert not (pair.worker.home / "logs").exists()


def test_the_digest_is_that_of_one_node_and_refs_are_routed_between_them(pair: Pair) -> None:
    before = {m.name: pair.node(m)["refs_routed"] for m in (pair.head, pair.worker)}
    assert pair.call("ingest_corpus", 0, 24) == 24
    assert pair.call("quiesce")["sections"] == expected(24)
    status = pair.status()
    for machine in (pair.head, pair.worker):
        node = pair.node(machine)
        assert node["refs_routed"] > before[machine.name] + 5, node
        assert node["mirrored_bytes"] > 0
        assert node["problems"] == {}
    assert status["refs_routed"] >= sum(before.values()) + 10
    assert all(m["late_wakes"] == 0 for m in status["modules"])
    answers = pair.call("query", "braid", "ask", {"question": "what about the sourdough starter?"})["answers"]
    story = pair.call("why", answers[0]["why"])
    assert story[0]["type"] == "DocumentIngested"


def test_mirrors_are_byte_identical(pair: Pair) -> None:
    pairs = [(pair.head, pair.worker), (pair.worker, pair.head)]
    compared = 0
    for source, reader in pairs:
        for mirror in (reader.home / "mirrors").iterdir():
            compared += assert_mirrored(source.home / "journals" / mirror.name, mirror)
    assert compared > 50_000


def test_no_process_has_a_file_of_the_other_s_home_open(pair: Pair) -> None:
    homes = {m.name: m.home for m in (pair.head, pair.worker)}
    found = open_files(homes)
    for name, processes in found.items():
        strange = {pid: used for pid, used in processes.items() if used - {name}}
        assert strange == {}, f"processes of {name} look into another home"
        assert sum(1 for used in processes.values() if name in used) >= 5, processes


def mirrored(pair: Pair) -> dict[Path, Path]:
    """Return every mirror of the two nodes with the journal it copies."""
    ways = [(pair.head, pair.worker), (pair.worker, pair.head)]
    return {m: source.home / "journals" / m.name for source, to in ways for m in (to.home / "mirrors").iterdir()}


def durable_end(directory: Path) -> int:
    """Return up to where a journal or mirror is on its disk."""
    reader = JournalReader(directory)
    try:
        return reader.limit()
    finally:
        reader.close()


def payloads_of(directory: Path, kind: type) -> list[Any]:
    """Return the payloads of one type that are on the disk of a journal or mirror."""
    reader = JournalReader(directory)
    try:
        frames = reader.frames(reader.first_offset(), reader.limit())
        events = [e for f in frames if f.header.kind == EVENTS for e in f.events]
        return [e.payload for e in events if isinstance(e.payload, kind)]
    finally:
        reader.close()


def test_a_partition_of_20_s_heals_within_10_s(pair: Pair) -> None:
    """What both sides wrote meanwhile is on the other's disk, and the status says that everybody answers and is level."""
    if not pair.network.has_namespaces:
        pair.third_joins = pair.begin_join(pair.third)
        pytest.skip("no network namespaces here: there is no network to cut")
    assert pair.near is not None
    assert pair.near.call("fuzz_here", "before") == 3
    pair.network.partition(pair.worker)
    begun = time.monotonic()
    try:
        pair.third_joins = pair.begin_join(pair.third)
        assert pair.call("ingest_corpus", 24, 32) == 8, "documents are taken all the time"
        assert pair.near.call("fuzz_here", "during") == 3, "and so is what happens on the other side"
        assert pair.node(pair.worker)["answers"] is False
        assert time.monotonic() - begun < 10.0, "a node that does not answer holds a status up once"
        for count in (32, 36, 48):
            expected(count)
        written = {mirror: durable_end(journal) for mirror, journal in mirrored(pair).items()}
        assert durable_end(pair.worker.home / "mirrors" / "clients") < written[pair.worker.home / "mirrors" / "clients"]
        time.sleep(max(0.0, begun + PARTITION_S - time.monotonic()))
    finally:
        pair.network.heal()
    healed = time.monotonic()
    # Where nothing bounds TCP's pauses they are as long as the cut was.
    bound_s = HEAL_S if pair.network.bounds_pauses else PARTITION_S

    wait_for(lambda: all(durable_end(m) >= end for m, end in written.items()), bound_s, "both sides caught up")

    def is_level() -> bool:
        status = pair.status()
        return all(n["answers"] and not n["problems"] for n in status["nodes"]) and not any(
            m["lag"] for m in status["modules"]
        )

    wait_for(is_level, bound_s, "everybody answers and is level")
    assert time.monotonic() - healed < bound_s
    assert len(payloads_of(pair.worker.home / "mirrors" / "clients", DocumentIngested)) == 32
    told = payloads_of(pair.head.home / "mirrors" / "fuzzing", FuzzTestCompleted)
    assert {"test-before", "test-during"} <= {p.test_id for p in told}
    pair.near.close()
    pair.near = None
    status = pair.status()
    assert status["state"] == "running"
    assert all(m["restarts"] == 0 for m in status["modules"])
    assert next(m for m in status["modules"] if m["name"] == "clients")["events"] == 32
    assert pair.call("quiesce")["sections"] == expected(32)


def test_killing_a_node_without_journals_changes_nothing(pair: Pair) -> None:
    assert pair.third_joins is not None
    assert pair.third_joins.wait(120) == 0, pair.third.log.read_text()
    before = pair.status()
    assert len(before["nodes"]) == 3
    assert pair.node(pair.third)["modules"] == []
    assert not (pair.third.home / "journals").exists()
    pair.kill_node(pair.third)
    pair.call("ingest_corpus", 0, 36)
    wait_for(lambda: len(pair.status()["nodes"]) == 2, 20, "Ray notices the death")
    assert pair.call("quiesce")["sections"] == expected(36)
    after = pair.status()
    assert after["state"] == "running"
    assert [(m["name"], m["state"], m["restarts"], m["node"]) for m in after["modules"]] == [
        (m["name"], m["state"], m["restarts"], m["node"]) for m in before["modules"]
    ]


def test_a_node_that_dies_takes_its_modules_offline_loudly_and_they_resume_when_it_returns(pair: Pair) -> None:
    theirs = set(pair.node(pair.worker)["modules"])
    ours = set(pair.node(pair.head)["modules"])
    pair.kill_node(pair.worker)
    wait_for(lambda: {n for n, s in pair.states().items() if s == "offline"} >= theirs, 20, "its modules are offline")
    states = pair.states()
    assert {n for n, s in states.items() if s == "running"} == ours, "everything else goes on"
    assert pair.status()["state"] == "degraded"
    with ThreadPoolExecutor(1) as shell:
        shown = shell.submit(pair.head.run, "tori", "status", "--json")
        everything_tells_of_it(pair, theirs)
    assert shown.result().returncode == 75
    assert {m["name"] for m in json.loads(shown.result().stdout)["modules"] if m["state"] == "offline"} >= theirs

    pair.join(pair.worker)
    wait_for(lambda: set(pair.states().values()) == {"running"}, 30, "its modules run again")
    assert pair.call("quiesce")["sections"] == expected(48)
    restarts = {m["name"]: m["restarts"] for m in pair.status()["modules"]}
    assert all(restarts[name] == 0 for name in ours)


def everything_tells_of_it(pair: Pair, theirs: set[str]) -> None:
    """Assert that events and requests say that modules are offline, while documents are taken."""
    told = pair.call("tail", 200, ("ModuleStateChanged", "ErrorOccurred"))
    assert theirs <= {e["payload"]["module"] for e in told if e["payload"].get("new") == "offline"}
    assert theirs <= {e["payload"]["module"] for e in told if e["payload"].get("error_type") == "NodeLost"}
    victim = sorted(theirs)[0]
    with pytest.raises(RuntimeError, match=f"module {victim} is offline: its node {node_id(pair.worker.home)} is away"):
        pair.call("query", victim, "summary", {})
    assert pair.call("ingest_corpus", 36, 48) == 12, "documents are taken all the time"


def notes() -> list[dict[str, Any]]:
    """Return four documents about a town, as lines of a file on a laptop."""
    texts = (
        "The harbour of Eastwick was dredged before the ferry came.",
        "The ferry to Eastwick runs twice a day in winter.",
        "Nobody in Eastwick remembers the old lighthouse keeper.",
        "The lighthouse keeper left a diary about the dredged harbour.",
    )
    return [{"id": f"eastwick-{n}", "title": f"Eastwick {n}", "text": t, "time": 1e9 + n} for n, t in enumerate(texts)]


def test_from_a_second_shell_that_knows_only_an_address_and_a_token(pair: Pair) -> None:
    url = pair.info(pair.head).dashboard_url
    assert url is not None
    file = pair.laptop.home / "notes.jsonl"
    file.write_text("".join(json.dumps(note) + "\n" for note in notes()))
    token = pair.laptop.home / "token"
    token.write_bytes((pair.head.home / "ray_token").read_bytes())

    def shell(*words: str, secret: Path = token) -> Any:
        return pair.laptop.run("tori", "submit", *words, "--address", url, RAY_AUTH_TOKEN_PATH=str(secret))

    def watch_and_ask() -> None:
        begun = shell("ingest", str(file), "--wait", "--detach")
        assert begun.returncode == 0, begun.stderr
        watched = shell("logs", begun.stdout.strip(), "--follow")
        assert watched.returncode == 0, watched.stdout + watched.stderr
        assert "4 documents taken, 0 known already" in watched.stdout
        assert f"digest {pair.call('digest')['digest']}" in watched.stdout
        asked = shell("ask", "who left a diary about the harbour?")
        assert asked.returncode == 0, asked.stderr
        assert "lighthouse keeper left a diary" in asked.stdout

    def be_refused() -> None:
        (pair.laptop.home / "wrong").write_text("0" * 64)
        refused = shell("list", secret=pair.laptop.home / "wrong")
        assert refused.returncode == 69
        assert "does not let us in" in refused.stderr

    def cancel() -> None:
        endless = shell("quiesce", "--detach").stdout.strip()
        cancelled = shell("cancel", endless, "--json")
        assert json.loads(cancelled.stdout) == {"job_id": endless, "cancelled": True}
        seen = shell("logs", endless, "--follow")
        assert seen.returncode == 130, seen.stdout + seen.stderr

    with ThreadPoolExecutor(1) as other_shell:
        refused = other_shell.submit(be_refused)
        watch_and_ask()
        refused.result()
    cancel()


def test_leaving_is_orderly_and_the_journals_hold_everything_once(pair: Pair) -> None:
    left = pair.worker.run("tori", "down", "--json")
    assert json.loads(left.stdout) == {"stopped": True, "problems": []}, left.stderr
    states = pair.states()
    assert set(states.values()) == {"running", "offline"}
    assert pair.head.run("tori", "down", "--json").returncode == 0
    assert pair.driver is not None
    pair.driver.close()
    pair.driver = None
    documents = [d for d in open_source(pair.laptop.home / "notes.jsonl").documents() if isinstance(d, Document)]
    heads = audit(pair.head.home, [*small_corpus(48), *documents])
    assert heads["clients"] == 52
    assert msgspec.json.decode((pair.worker.home / "node.json").read_bytes())["node_id"] == node_id(pair.worker.home)
