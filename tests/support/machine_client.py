"""The in-process client with the real machines: lifecycle, scheduler and ledger decide, and this executes at once."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.local_runtime import DurableClient
from tori.client import Place, Stopped, home_of
from tori.clock import SystemClock
from tori.errors import BadInput, NotRunning, ToriError
from tori.events.system import SystemStarted, TaskCancelled, TaskCompleted, TaskFailed, TaskStarted
from tori.journal.unit import units
from tori.local import LocalSystem
from tori.local.system import DEFAULT_MODULES
from tori.machine import Emit, Tick
from tori.modules.host import HostSnapshot, ModuleHost
from tori.orchestrator import signal as life
from tori.orchestrator.lifecycle import Lifecycle
from tori.orchestrator.record import LifecycleOptions
from tori.scheduler import signal as sched
from tori.scheduler.logs import RunLogs
from tori.scheduler.machine import Scheduler
from tori.scheduler.spec import default_specs
from tori.scheduler.view import active_rows, log_row, story_row

_FACTS = (SystemStarted, TaskStarted, TaskCompleted, TaskFailed, TaskCancelled)


class MachineBackend:
    """Starts one system in this process, on the home it is given first."""

    def __init__(self) -> None:
        self.client: MachineClient | None = None

    def _place(self, settings: Any) -> Place:
        return Place("127.0.0.1:1", "tori", str(home_of(settings)), None, "http://127.0.0.1:8265")

    def up(self, settings: Any, address: str | None) -> Place:
        self.client = self.client or MachineClient(home_of(settings))
        return self._place(settings)

    def connect(self, settings: Any, address: str | None) -> MachineClient:
        if self.client is None:
            raise NotRunning(f"no TORI runs in {home_of(settings)}.", remedy="Start it with tori up.")
        return self.client

    def place(self, settings: Any, address: str | None) -> Place | None:
        return self._place(settings) if self.client else None

    def down(self, settings: Any, address: str | None) -> Stopped:
        client, self.client = self.client, None
        if client is not None:
            client.stop()
        return Stopped(was_running=client is not None)


class MachineClient(DurableClient):
    """A ``SystemClient`` on a home: what runs, rests and is remembered is what the machines say."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.reopen()
        clock = SystemClock()
        self.lifecycle = Lifecycle(clock, LifecycleOptions(order=DEFAULT_MODULES, starts_at_once=len(DEFAULT_MODULES)))
        self.clock = clock
        self.scheduler = Scheduler(default_specs(), clock)
        self._remember()
        self._live(life.StartRequested(paused=self.scheduler.is_paused))
        self._schedule(sched.Recovered())

    def reopen(self, snapshots: Mapping[str, HostSnapshot] | None = None) -> None:
        self.mind.close()
        self.mind = LocalSystem(self.home, modules=(*DEFAULT_MODULES, "orchestrator"), snapshots=snapshots)

    @property
    def _ledger(self) -> ModuleHost:
        return self.mind.hosts["orchestrator"]

    def _remember(self) -> None:
        reader = self.mind.archive.readers["orchestrator"]
        for unit in units(reader, reader.first_offset(), reader.limit()):
            for record in unit.records(self._ledger.record_decoder):
                self.scheduler.apply(record, 0)
            for event in unit.events:
                if isinstance(event.payload, _FACTS):
                    self.scheduler.apply(event.payload, event.time_ns)

    # -- executing -----------------------------------------------------------------------------------------------

    def _live(self, stimulus: Any) -> None:
        """Give the lifecycle a stimulus and do what follows."""
        waiting = deque([stimulus])
        while waiting:
            for order in self.lifecycle.handle(waiting.popleft()):
                if isinstance(order, Emit):
                    self._ledger.emit([], [(order.payload, order.key)])
                elif isinstance(order, life.StartModule):
                    (self.paused.add if order.paused else self.paused.discard)(order.module)
                    waiting.append(life.ModuleReady(order.module, order.incarnation))
                elif isinstance(order, life.PauseModule):
                    self.paused.add(order.module)
                elif isinstance(order, life.ResumeModule):
                    self.paused.discard(order.module)
                elif isinstance(order, life.TakeCheckpoint):
                    waiting.append(life.CheckpointDone(order.module, order.incarnation))
                elif isinstance(order, life.StopModule):
                    waiting.append(life.ModuleStopped(order.module, order.incarnation))

    def _schedule(self, stimulus: Any) -> None:
        """Give the scheduler a stimulus and do what follows; an attempt runs to its end at once."""
        waiting = deque([stimulus])
        while waiting:
            orders = self.scheduler.handle(waiting.popleft())
            records = [o.record for o in orders if isinstance(o, sched.Keep)]
            events = [(o.payload, o.key) for o in orders if isinstance(o, Emit)]
            if records or events:
                self._ledger.emit(records, events)
            for order in orders:
                if isinstance(order, sched.StartRun):
                    waiting += [sched.RunStarted(order.run_id, order.attempt), self._attempt(order)]
                elif isinstance(order, sched.CancelRun):
                    waiting.append(sched.RunLost(order.run_id, order.attempt))

    def _attempt(self, order: sched.StartRun) -> Any:
        try:
            if order.spec.module:
                self.mind.scan(order.spec.module, order.spec.task_type)
            elif order.spec.task_type == "state_persistence":
                self.checkpoint()
        except ToriError as error:
            return sched.RunFailed(order.run_id, order.attempt, str(error), temporary=False)
        return sched.RunFinished(order.run_id, order.attempt)

    # -- the port ------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        self.mind.pump()
        states = self.lifecycle.states()
        found = super().status()
        rows = [row for row in found["modules"] if row["name"] in self.lifecycle.modules]
        for row in rows:
            row |= {"state": states[row["name"]], "restarts": self.lifecycle.modules[row["name"]].incarnation - 1}
        problems = self._ledger.module.query("problems", {"limit": 20})
        level, reason = self.scheduler.pressure
        pressure = {"level": level.name.lower(), "reason": reason if level else ""}
        held = {"throttle": str(self.scheduler.throttle[0]), "pressure": pressure}
        return found | {"state": states["system"], "modules": rows, "problems": problems} | held

    def tasks(self) -> dict[str, Any]:
        self._schedule(Tick())
        rows = [
            {
                "task_id": spec.task_id,
                "module": spec.module or "orchestrator",
                "interval_s": getattr(spec.trigger, "interval_s", None),
                "runs": sum(self.scheduler.task(spec.task_id).counts.values()),
                "paused": self.scheduler.task(spec.task_id).is_paused,
                "held_by": "the system is paused: tori resume" if self.scheduler.is_paused else None,
            }
            for spec in self.scheduler.specs.values()
        ]
        return {
            "tasks": rows,
            "runs": self._ledger.module.query("runs", {"limit": 100}),
            "active": active_rows(self.scheduler, self.clock.monotonic_ns()),
        }

    def run_story(self, run_id: str) -> dict[str, Any]:
        return story_row(self.scheduler, run_id, self.clock.monotonic_ns())

    def run_task(self, task: str, *, force: bool = False) -> dict[str, Any]:
        run_id = f"{task}-{uuid.uuid4().hex[:16]}"
        self._schedule(sched.RunRequested(task, run_id, force))
        self.pump()
        row = story_row(self.scheduler, run_id, self.clock.monotonic_ns())
        return {name: row[name] for name in ("run_id", "state", "held_by", "error")}

    def throttle(self, level: str, reason: str = "") -> dict[str, Any]:
        old = self.scheduler.throttle[0]
        self._schedule(sched.ThrottleRequested(sched.Throttle(level), reason))
        return {"level": level, "old": str(old), "runs": []}

    def run_logs(self, run_id: str) -> dict[str, Any]:
        return log_row(self.scheduler, RunLogs(self.home), run_id)

    def cancel_run(self, run_id: str) -> dict[str, Any]:
        self._schedule(sched.CancelRequested(run_id))
        return {"run_id": run_id, "state": str(self.scheduler.run(run_id).state)}

    def pause_task(self, task: str, *, paused: bool) -> dict[str, Any]:
        self._schedule(sched.PauseRequested(task) if paused else sched.ResumeRequested(task))
        return {"task_id": task, "paused": paused}

    def pause(self, module: str | None, *, paused: bool) -> dict[str, Any]:
        if module is None:
            self._schedule(sched.PauseRequested() if paused else sched.ResumeRequested())
            if not paused and self.scheduler.throttle[0] is sched.Throttle.STOPPED:
                self.throttle("off", "resumed")
        self._live(life.PauseRequested(module or "") if paused else life.ResumeRequested(module or ""))
        self.pump()
        names = [module] if module else list(self.lifecycle.modules)
        return {"modules": names, "paused": paused, "states": self.lifecycle.states()}

    def restore(self, checkpoint_id: str | None) -> dict[str, Any]:
        chosen = [checkpoint_id] if checkpoint_id else self.store.list()
        damaged = {one: str(problems) for one in chosen if (problems := self.store.verify(one))}
        good = [one for one in chosen if one not in damaged]
        if not good:
            raise BadInput(f"no good checkpoint among {chosen}.", remedy="tori checkpoint --list shows what there is.")
        newer = {one: why for one, why in damaged.items() if chosen.index(one) < chosen.index(good[0])}
        return super().restore(good[0]) | {"passed_over": newer}

    def close(self) -> None:
        """The system stays: a command only lets it go."""

    def stop(self) -> None:
        """Final checkpoint, every module in reverse order, the end."""
        self.checkpoint()
        self._live(life.StopRequested())
        self.mind.close()
