"""Folding in real Ray tasks beside real actors: the same bytes, in a process that is gone afterwards."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import ray

from actors.checkpoints import Checkpoints
from actors.cluster import ClusterInfo
from actors.fold import NICENESS, Folding, make_way
from actors.module import ModuleActor, ShellConfig
from actors.options import module_options, on_node, remote_class
from tests.support.system import small_corpus
from tori.events.system import ErrorOccurred
from tori.modules.open import open_host
from tori.settings import load_settings

NAMES = ("reader", "braid")


class Here:
    """Both modules live on this node, or are said to live on another one."""

    def __init__(self) -> None:
        self.here = "here"
        self.places = dict.fromkeys(NAMES, "here")

    def node_of(self, name: str) -> str:
        return self.places[name]

    def mirrored(self, name: str) -> dict[str, bytes]:
        return {}

    def strategy(self, name: str) -> Any:
        return on_node(ray.get_runtime_context().get_node_id())


def settle(actors: Iterable[Any]) -> None:
    """Wait until modules that follow one another have nothing left; a view is as old as its module's last batch."""
    before: list[int] = []
    while True:
        views = ray.get([actor.view.remote() for actor in actors])
        now = [view.consumed for view in views]
        if now == before and not any(view.lag for view in views):
            return
        before = now
        time.sleep(0.3)


def where() -> tuple[int, int]:
    make_way()
    return os.getpid(), os.nice(0)


def test_folded_checkpoints_hold_what_the_living_modules_give(shared_cluster: ClusterInfo, tmp_path: Path) -> None:
    home = Path(shared_cluster.home)
    clients = open_host(home, "clients", segment_bytes=1 << 20, load_snapshot=lambda name: None)
    actors = {
        name: remote_class(ModuleActor, module_options(f"fold-{name}")).remote(ShellConfig(str(home), name, 1 << 20))
        for name in NAMES
    }
    told: list[Any] = []
    places, store = Here(), Checkpoints(home, 9, lambda: actors, lambda *events: told.extend(events), {})
    store.folding = Folding(home, load_settings(home).plain(), places, store.store)
    try:
        for part in (small_corpus()[:20], small_corpus()[20:]):
            clients.command("ingest", {"documents": msgspec.msgpack.encode(part)})
            settle(actors.values())
            rows = [store.take(), store.take(is_last=True)]
            places.places["braid"] = "there"
            rows.append(store.take())
            places.places["braid"] = "here"
            manifests = [store.store.manifest(row["checkpoint_id"]) for row in rows]
            assert all(not row["missing"] for row in rows)
            for name in NAMES:
                assert len({manifest.modules[name].sha256 for manifest in manifests}) == 1, [
                    (name, manifest.modules[name]) for manifest in manifests
                ]
            assert {ray.get(ref) for ref in map(store._hot.get, NAMES)} == {
                store.store.load(manifests[2], name).data for name in NAMES
            }
        assert not [event for event in told if isinstance(event, ErrorOccurred)]
        options = store.folding._options("test", places.strategy("reader"))
        pid, niceness = ray.get(ray.remote(**options)(where).remote())
        assert niceness == NICENESS
        deadline = time.monotonic() + 10.0
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, "a process at low priority was left to other tasks"
            time.sleep(0.05)
    finally:
        for actor in actors.values():
            ray.kill(actor)
        clients.close()
