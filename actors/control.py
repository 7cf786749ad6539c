"""What the orchestrator does: owns the machines, the ledger, the routes, the checkpoints; knows nothing about texts."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from actors.alerts import Alerts
from actors.cast import CLIENTS, is_relay
from actors.checkpoints import Checkpoints, final_checkpoint
from actors.conductor import Conductor, Past
from actors.copies import Copies
from actors.find import find_event
from actors.fold import Folding
from actors.housekeeping import Housekeeping
from actors.logging import configure_from, event_logger
from actors.measure import Metrics
from actors.module import ShellConfig
from actors.names import ORCHESTRATOR
from actors.nodes import Nodes
from actors.pressure import PressureWatch
from actors.recovery import RecoveryCheck
from actors.relays import Relays
from actors.reload import Reloads
from actors.runs import Runs
from actors.schedule import Plan, node_resources
from actors.scribe import Scribe
from actors.settle import Quiesce, check_unpaused
from actors.shipped import Shipping, kept_tasks
from actors.snapshot import Origin, find_snapshot
from actors.standing import Standing, Traffic
from tori.checkpoint.codec import ModuleSnapshot
from tori.clock import SECOND_NS, SystemClock
from tori.digest import mind_digest
from tori.errors import BadInput, NodeAway, NoRoom, ToriError, Unavailable
from tori.events.system import ErrorOccurred
from tori.modules.host import HostSnapshot, ModuleHost
from tori.modules.loop import ModuleLoop
from tori.modules.need import module_snapshot
from tori.modules.open import input_directories, open_host
from tori.modules.registry import START_ORDER, remember_journal, user_modules
from tori.modules.user import load_modules
from tori.orchestrator import signal as sig
from tori.orchestrator.ledger import Ledger
from tori.orchestrator.lifecycle import Lifecycle
from tori.orchestrator.notes import SYSTEM
from tori.orchestrator.placement import JournalsReached
from tori.orchestrator.record import LifecycleOptions
from tori.orchestrator.state import State
from tori.orchestrator.supervision import RestartPolicy
from tori.scheduler.logs import RunLogs
from tori.scheduler.signal import Throttle, Triggered
from tori.scheduler.view import log_row
from tori.trends.book import TrendsSampled

STORE = "object_store_memory"
REFS_ROUTED = "tori_refs_routed"
"""The metric that carries the count over a restart: what the journal holds of it is at most one interval old."""


class Control:
    """One system: lifecycle, scheduler, checkpoints and the ledger they speak through."""

    def __init__(
        self, home: Path, settings: Mapping[str, Any], *, is_reborn: bool, on_wait: Callable[[str], None] | None
    ) -> None:
        configure_from(settings)
        self.pid = os.getpid()
        self._is_reborn = is_reborn
        self.home = home
        self._settings = settings
        self._clock = SystemClock()
        load_modules(settings)
        self._modules = (*START_ORDER, *user_modules())
        self._plan = Plan(settings, *kept_tasks(home))
        self._nodes = Nodes(home, (CLIENTS, *self._modules), self._clock)
        for name in self._nodes.berths:  # also those of modules that are gone: the record speaks of what they wrote
            remember_journal(name)
        self._ledger_origin = Origin(None)
        self._ledger = self._open_ledger(on_wait)
        self._scribe = Scribe(self._ledger, on_wait)
        emit, record = self._scribe.emit, self._scribe.record
        if self._nodes.fresh:
            record(self._nodes.fresh, [])
        self._hot: dict[str, Any] = {}
        self._metrics = Metrics(self.status, emit, self._observe)
        self._lifecycle = Lifecycle(self._clock, self._lifecycle_options(settings["limits"]))
        self._checkpoints = self._open_checkpoints(settings)
        self._relays = Relays(self._nodes, lambda: self._conductor.handles)
        self._housekeeping = Housekeeping(
            home, settings, self._checkpoints.store, self._module_handles, self._ledger, emit, self._relays.marks
        )
        self._conductor = Conductor(
            self._lifecycle,
            self._shell_config,
            self._clock,
            emit,
            self._checkpoints.save_last,
            self._origin,
            self._past(),
            self._nodes,
        )
        self._nodes.on_lost, self._nodes.on_returned = self._node_lost, self._node_returned
        self._conductor.on_change = lambda name, is_up: self._runs.set_available(name, is_up=is_up)
        self._runs = Runs(
            home,
            settings,
            self._clock,
            self._module_handles,
            self._ledger,
            record,
            self._persist,
            self._metrics.collect,
            self._plan,
            node_resources,
        )
        self._logs = RunLogs(home)
        self._take_on()
        self._runs.on_failure = self._fail
        limits = settings["limits"]
        self._pressure = PressureWatch(home, limits, emit, self._runs.tell, others=lambda: self._scarce(limits))
        self._pressure.on_failure = self._fail
        self._alerts = Alerts(settings["alerts"], self._clock, self._ledger, record)
        self._alerts.on_failure = self._fail
        self._traffic = Traffic(int(self.query("orchestrator", "metrics", {}).get(REFS_ROUTED, 0)))
        self._standing = Standing(
            self._lifecycle, self._conductor, self._nodes, self._relays, self._ledger, self._traffic
        )
        self._quiesce_lock = threading.Lock()
        self._step = ""

    def _lifecycle_options(self, limits: Mapping[str, Any]) -> LifecycleOptions:
        order = (CLIENTS, *self._nodes.relays, *self._modules)
        return LifecycleOptions(
            order=order,
            start_timeout_s=limits["start_timeout_s"],
            starts_at_once=len(order),
            restart=RestartPolicy(limit=limits["restarts"], window_s=limits["restart_window_s"]),
        )

    def _open_checkpoints(self, settings: Mapping[str, Any]) -> Checkpoints:
        url, keep = settings["checkpoint"]["url"], settings["checkpoint"]["keep"]
        found = Checkpoints(self.home, keep, self._module_handles, self._scribe.emit, self._hot, self._ledger_snapshot)
        found.on_saved = self._note_reached
        found.copies = Copies(url, keep, found.store, self._scribe.emit)
        found.folding = Folding(self.home, settings, self._nodes, found.store)
        return found

    def _take_on(self) -> None:
        """Make ready for code that changes while the system runs, and for checks of its recovery."""
        self._scribe.on_written = self._metrics.take
        self._conductor.is_held_up = self._runs.is_held_up = lambda: bool(self._scribe.waits_for)
        self._shipping = Shipping(self.home, self._plan, self._scribe.record_now, self._runs.learn)
        self._reloads = Reloads(self._conductor, self._handle, lambda: bool(self._nodes.relays))
        check = RecoveryCheck(self._conductor, self._modules, self._scribe.emit, self._injected)
        self._runs.take_on({"hot_reload": self._reloads.changed, "chaos_recovery": check.run})

    def _injected(self) -> int:
        """Return how many faults were injected on purpose so far."""
        return int(self.query("orchestrator", "counts", {}).get("ChaosInjected", 0))

    def _open_ledger(self, on_wait: Callable[[str], None] | None) -> ModuleLoop:
        """Return the loop of the ledger, recovered; with ``on_wait`` it waits for room on a full disk, and tells that first."""
        home, segment_bytes = self.home, self._settings["journal"]["segment_size_bytes"]
        mirrored = self._nodes.mirrored("orchestrator")
        loop = ModuleLoop(
            "orchestrator",
            lambda: open_host(
                home,
                ORCHESTRATOR,
                segment_bytes=segment_bytes,
                load_snapshot=self._find_ledger,
                mirrored=mirrored,
                progress=loop.replayed,
                create=lambda name, settings: Ledger(self._plan.triggers),
            ),
            input_directories(home, ORCHESTRATOR, mirrored),
            on_wait=on_wait,
        )
        loop.start()
        while True:
            with contextlib.suppress(NoRoom):
                loop.wait_ready(self._settings["limits"]["start_timeout_s"])
                return loop

    def _find_ledger(self, name: str) -> HostSnapshot | None:
        self._ledger_origin = find_snapshot(self.home, name, None)
        return self._ledger_origin.snapshot

    def _ledger_snapshot(self) -> ModuleSnapshot:
        """Return the ledger's state: from it a restart goes on, so that it needs no more of the others' journals than they do."""

        def work(host: ModuleHost) -> HostSnapshot:
            host.journal.commit()
            return host.snapshot()

        return module_snapshot(self._ledger.call(work))

    def _persist(self) -> None:
        """What is due with each periodic checkpoint."""
        self._checkpoints.take()
        self._housekeeping.run()

    def _past(self) -> Past:
        def read(host: ModuleHost) -> Past:
            known = (host.module.query(name, {}) for name in ("starts", "states", "failures", "checked"))
            starts, states, failures, checked = known
            return Past(host.journal.epoch, starts, self._is_reborn, states, failures, checked)

        return self._ledger.call(read)

    def _hear_triggers(self) -> int:
        """Have the ledger tell what makes a task due from now on; return the offset in its journal up to which it did not."""

        def hear(host: ModuleHost) -> int:
            assert isinstance(host.module, Ledger)
            host.module.on_trigger = lambda task_id, cause: self._runs.tell(Triggered(task_id, cause, kept=True))
            return host.journal.written_offset

        return self._ledger.call(hear)

    def _shell_config(self, name: str, incarnation: int) -> ShellConfig:
        is_carrier = name == CLIENTS or is_relay(name)
        return ShellConfig(
            self._nodes.shell_home,
            name,
            self._settings["journal"]["segment_size_bytes"],
            incarnation,
            self._settings["limits"]["start_timeout_s"],
            dict(self._settings),
            None if is_relay(name) else self._nodes.mirrored(name),
            self._nodes.berths.get(name),
            self._nodes.supplies(name) if is_carrier else {},
            "" if is_relay(name) else self.query("orchestrator", "codes", {}).get(name, ""),
        )

    def _origin(self, name: str) -> Any:
        """Return the ref of the snapshot a module starts from, when it cannot find a better one by itself."""
        if is_relay(name):
            return None
        return self._checkpoints.origin(name, is_elsewhere=self._nodes.node_of(name) != self._nodes.here)

    def _module_handles(self) -> dict[str, Any]:
        return {name: handle for name, handle in self._conductor.handles.items() if not is_relay(name)}

    # -- nodes -------------------------------------------------------------------------------------------------

    def _note_reached(self, sequences: dict[str, int]) -> None:
        """Record how far journals were durable: one that is shorter at a later start has lost data."""
        record = JournalsReached(sequences)
        self._scribe.record([record], [])
        self._nodes.reached(record)

    def _node_lost(self, node: str, residents: tuple[str, ...]) -> None:
        self._conductor.ask(sig.NodeLost(node, residents))
        self._relays.grant()

    def _node_returned(self, node: str, residents: tuple[str, ...]) -> None:
        self._relays.grant()
        self._conductor.ask(sig.NodeReturned(node, residents))

    def joined(self, node: str) -> dict[str, Any]:
        """Take note of a node that says it has come."""
        self._nodes.joined(node)
        return {"node": node, "modules": [m for m, b in self._nodes.berths.items() if b.node == node]}

    def leave(self, node: str) -> dict[str, Any]:
        """Save what lives on a node that goes, and let it go; the head cannot."""
        if node == self._nodes.here:
            raise BadInput("the head cannot leave its own cluster.", remedy="Stop the system: tori down.")
        residents = self._nodes.residents(node)
        living = {name: h for name, h in self._module_handles().items() if name in residents}
        if living:
            self._checkpoints.take(living, is_last=True)
        self._nodes.leave(node)
        return {"node": node, "modules": sorted(living)}

    # -- life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Adopt living modules, start the others, begin the schedule; into a pause when the last word of a person was one."""
        self._runs.remember(self._hear_triggers())
        for task_id, reason in self._plan.left_out.items():
            self._scribe.emit(ErrorOccurred("TaskLeftOut", f"shipped task {task_id}: {reason}", ORCHESTRATOR))
        self._scribe.emit(*self._ledger_origin.events)
        self._conductor.start()
        for node in sorted(self._nodes.away):
            self._conductor.tell(sig.NodeLost(node, self._nodes.residents(node), "its node is not there"))
        self._conductor.tell(sig.StartRequested(paused=self._runs.is_paused))
        self._runs.start(self._pressure.look())
        self._pressure.start()
        self._alerts.start()
        self._nodes.start()
        self._scribe.settle()

    def wait_failure(self) -> None:
        """Return when a control thread failed; blocks for ever otherwise."""
        ledger = threading.Thread(target=self._watch_ledger, name="tori-watch-ledger", daemon=True)
        ledger.start()
        while True:
            self._conductor.finished.wait()
            failure = self._conductor.failure
            if failure is not None:
                event_logger("orchestrator").error("a thread died: %s", failure, exc_info=failure)
                return
            time.sleep(1.0)

    def _watch_ledger(self) -> None:
        try:
            self._ledger.join()
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Note that a thread everything depends on has died; the guard ends the process."""
        self._conductor.failure = error
        self._conductor.finished.set()

    def ready(self, timeout_s: float) -> dict[str, Any]:
        """Return the states once no module is starting.

        Raises Unavailable with what still starts, NoRoom when all that does waits for its disk.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            states = self._lifecycle.states()
            coming = (State.INITIALIZING, State.STOPPED, State.FAILED)
            waiting = [n for n, s in states.items() if n != SYSTEM and s in coming]
            waits = {n: why for n, why in list(self._conductor.waits.items()) if why}
            if self._conductor.missing:
                raise next(iter(self._conductor.missing.values()))
            if not waiting and states[SYSTEM] not in coming:
                return {"states": states, "pid": threading.get_native_id()}
            if waiting and waits.keys() >= set(waiting):
                raise NoRoom(f"{', '.join(waiting)} cannot start yet:", remedy=" ".join(sorted(set(waits.values()))))
            if time.monotonic() > deadline:
                raise Unavailable(f"still starting: {', '.join(waiting)}.", remedy="See tori status and the logs.")
            time.sleep(0.02)

    def stop(self, timeout_s: float) -> dict[str, Any]:
        """Take the final checkpoint and stop every module in reverse order; ``problems`` says what went wrong on the way."""
        self._scribe.stop()
        self._pressure.stop()
        self._runs.stop()
        self._alerts.stop()
        problems = (
            final_checkpoint(lambda: self._checkpoints.take(is_last=True), self._scribe.emit)
            if self._module_handles()
            else []
        )
        self._conductor.ask(sig.StopRequested())
        finished = self._conductor.finished.wait(timeout_s)
        if not finished:
            problems.append(f"not every module stopped in {timeout_s:.0f} s.")
        self._ledger.stop()
        return {"finished": finished, "problems": problems}

    def _observe(self, samples: dict[str, float]) -> None:
        """Put the samples of an interval into the book of trends, and tell what left its baseline; also what a crash left untold."""
        trends = self._settings["trends"]
        record = TrendsSampled(self._clock.wall_ns() // SECOND_NS, samples, trends["run_length"], trends["least_ratio"])
        self._scribe.record([record], [])
        pending = self._ledger.call(lambda host: list(host.module.trends.pending))  # type: ignore[attr-defined]  # it is the ledger
        if pending:
            self._scribe.record([], [(alert, alert.metric) for alert in pending])

    def _scarce(self, limits: Mapping[str, Any]) -> dict[str, float]:
        """Return what is used up of the object stores, and of the credit by the module furthest behind; shares of 1."""
        found = {"lag": min(1.0, self._metrics.worst_lag / limits["credit_events"])}
        try:
            whole, free = ray.cluster_resources(), ray.available_resources()
        except RayError:
            return found
        if whole.get(STORE):
            found["object_store"] = 1.0 - free.get(STORE, 0.0) / whole[STORE]
        return found

    # -- routes ------------------------------------------------------------------------------------------------

    def publish(self, refs: list[Any]) -> list[Any]:
        """Route refs to the relay of the node whose journal takes documents; the refs returned are the relay's receipts."""
        relay = self._handle(CLIENTS)
        self._traffic.count(len(refs))
        return [relay.ingest.remote(ref) for ref in refs]

    def _handle(self, module: str) -> Any:
        handle = self._conductor.handles.get(module)
        if handle is not None:
            return handle
        state = self._lifecycle.states().get(module)
        if state is None:
            known = ", ".join(self._lifecycle.modules)
            raise BadInput(f"there is no module {module!r}.", remedy=f"Modules: {known}, orchestrator.")
        if state == State.OFFLINE:
            raise NodeAway(
                f"module {module} is offline: its node {self._nodes.node_of(module)} is away, and its journal with it.",
                remedy="It starts again by itself when the node is back.",
            )
        raise Unavailable(f"module {module} is {state}.", remedy="It is being started again; try again in a moment.")

    def _ask(self, module: str, method: str, *arguments: Any) -> Any:
        try:
            return ray.get(getattr(self._handle(module), method).remote(*arguments))
        except RayError as error:
            cause = getattr(error, "cause", None)
            if cause is not None:
                raise cause from None
            raise Unavailable(f"module {module} died over the request.", remedy="It is being started again.") from error

    def query(self, module: str, name: str, arguments: Mapping[str, Any]) -> Any:
        if module == "orchestrator":
            return self._ledger.call(lambda host: host.query(name, arguments))
        return self._ask(module, "query", name, arguments)

    def command(self, module: str, name: str, arguments: Mapping[str, Any]) -> Any:
        if module == "orchestrator":
            return self._ledger.call(lambda host: host.command(name, arguments))
        return self._ask(module, "command", name, arguments)

    def relay(self, method: str, *arguments: Any) -> Any:
        return self._ask(CLIENTS, method, *arguments)

    def find(self, identifier: str) -> str | None:
        """Return the event id of the first that knows this id: the ledger, then the modules; raises Unavailable when one is down."""
        known = self.query("orchestrator", "find", {"id": identifier}).get("event_id")
        return known or find_event(identifier, self._module_handles(), (CLIENTS, *self._modules))

    # -- questions ---------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return state, modules, nodes, rates and what went wrong lately."""
        return self._standing.look() | {
            "doing": self.doing(),
            "problems": self.query("orchestrator", "problems", {"limit": 20}),
            "throttle": str(self._runs.scheduler.throttle[0]),
            "pressure": self._runs.pressure(),
            "trends": self.query("orchestrator", "trends", {"limit": 5})["alerts"],
        }

    def digest(self) -> dict[str, Any]:
        """Return the digest of the mind as it is now; canonical after ``quiesce``."""
        sections = self._quiesce().sections()
        return {"digest": mind_digest(sections), "sections": sections}

    def quiesce(self) -> dict[str, Any]:
        """Settle, run one full pass, settle; one at a time, with the schedule held meanwhile."""
        self._check_unpaused()
        with self._quiesce_lock, self._runs.held():
            begun = time.monotonic()
            try:
                sections = self._quiesce().run()
            finally:
                self._say("")
            seconds = round(time.monotonic() - begun, 3)
        return {"digest": mind_digest(sections), "sections": sections, "seconds": seconds}

    def _quiesce(self) -> Quiesce:
        return Quiesce(self._module_handles, self._runs.scan_now, self._wait_healthy, self._say, self._relays.behind)

    def _say(self, step: str) -> None:
        self._step = step

    def doing(self) -> str:
        """Return the step of a long request that is under way, or what everything waits for; empty when there is neither."""
        waits_for = self._scribe.waits_for
        return f"waiting for room on the disk: {waits_for}" if waits_for else self._step

    def _check_unpaused(self) -> None:
        check_unpaused(self._lifecycle.states(), is_scheduler_paused=self._runs.is_paused)
        self._runs.check_running()

    def _wait_healthy(self, timeout_s: float) -> None:
        """Return when every module runs; raises Unavailable when one stays down, IllegalTransition when one is paused."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._check_unpaused()
            states = self._lifecycle.states()
            down = [
                n for n in self._lifecycle.modules if states[n] != State.RUNNING or n not in self._conductor.handles
            ]
            if not down:
                return
            offline = [n for n in down if states[n] == State.OFFLINE]
            if offline:
                raise NodeAway(
                    f"{', '.join(offline)} offline: their node is away.", remedy="Bring it back, then again."
                )
            degraded = [n for n in down if states[n] == State.DEGRADED]
            if degraded or time.monotonic() > deadline:
                raise Unavailable(
                    f"{', '.join(down)} not running ({', '.join(states[n] for n in down)}).", remedy="See tori status."
                )
            time.sleep(0.05)

    # -- work --------------------------------------------------------------------------------------------------

    def tasks(self) -> dict[str, Any]:
        runs, active = self.query("orchestrator", "runs", {"limit": 100}), self._runs.active()
        states = {run["run_id"]: run["state"] for run in active}
        # Events do not tell of what waits for Ray, or for another attempt.
        runs = [run | {"state": states.get(run["run_id"], run["state"])} for run in runs]
        return {"tasks": self._runs.tasks(), "runs": runs, "active": active}

    def run_task(self, task: str, run_id: str, *, force: bool = False) -> dict[str, Any]:
        return self._runs.request(task, run_id, force=force)

    def throttle(self, level: str, reason: str) -> dict[str, Any]:
        return self._runs.throttle(level, reason)

    def run_story(self, run_id: str) -> dict[str, Any]:
        return self._runs.story(run_id)

    def progress_run(self, run_id: str, attempt: int, done: float, total: float) -> None:
        self._runs.progress(run_id, attempt, done, total)

    def begin_run(self, run_id: str, attempt: int) -> None:
        self._runs.begun(run_id, attempt)

    def add_log(self, run_id: str, attempt: int, data: bytes) -> None:
        self._logs.add(run_id, attempt, data)

    def run_logs(self, run_id: str) -> dict[str, Any]:
        return log_row(self._runs.scheduler, self._logs, run_id)

    def cancel_run(self, run_id: str) -> dict[str, Any]:
        return self._runs.cancel(run_id)

    def pause_task(self, task: str, *, paused: bool) -> dict[str, Any]:
        return self._runs.pause_task(task, paused=paused)

    def pause(self, module: str | None, *, paused: bool) -> dict[str, Any]:
        """Pause or resume one module or the whole system.

        The scheduler's record is the one truth about the system, also after a restart: it is written before the modules are
        paused, and after they were resumed, so a crash between leaves a pause that everybody keeps.
        """
        request: Any = sig.PauseRequested(module or "") if paused else sig.ResumeRequested(module or "")
        was_paused = self._runs.is_paused
        if module is None and paused:
            self._runs.set_paused(paused=True)
        try:
            self._conductor.ask(request)
        except ToriError:
            if module is None:
                self._runs.set_paused(paused=was_paused)
            raise
        if module is None and not paused:
            self._runs.set_paused(paused=False)
            if self._runs.scheduler.throttle[0] is Throttle.STOPPED:
                self._runs.throttle(Throttle.OFF, "resumed")
        names = [module] if module else list(self._lifecycle.modules)
        return {"modules": names, "paused": paused, "states": self._lifecycle.states()}

    def ship(self, data: bytes, name: str) -> dict[str, Any]:
        """Take the tasks of a bundle in."""
        return self._shipping.take(data, name)

    def reload(self, name: str) -> dict[str, Any]:
        """Put the code of a module that is installed now in the place of the code that runs."""
        return self._reloads.one(name)

    def checkpoint(self) -> dict[str, Any]:
        return self._checkpoints.take()

    def checkpoints(self) -> list[dict[str, Any]]:
        return self._checkpoints.list()

    def restore(self, checkpoint_id: str | None) -> dict[str, Any]:
        """Start every module again from a checkpoint and the journal after it."""
        with self._quiesce_lock, self._runs.held():
            found = self._checkpoints.restore(checkpoint_id)
        return found | self.digest()
