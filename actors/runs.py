"""Executes what the scheduler decides: attempts run in threads that wait on Ray tasks and answer with a stimulus.

One thread feeds the machine. Before each ``Tick`` it looks at every module's version, so what is due is skipped when nothing
it reads has changed, and an idle system is asleep between looks.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import ray
from ray.exceptions import RayError, RayTaskError, TaskCancelledError

from actors.ending import cancel, end, settle
from actors.fuzz import fuzz
from actors.module import Conclusion
from actors.request import Stimuli, ask
from actors.scan import Work, fan_out, start_scan
from actors.schedule import Plan, start_user
from tori.clock import Clock
from tori.errors import BadInput, IllegalTransition, PermanentError, ToriError, Unavailable
from tori.events.system import SystemStarted, TaskCancelled, TaskCompleted, TaskFailed, TaskStarted, WorkThrottled
from tori.journal.reader import JournalReader
from tori.journal.unit import units
from tori.machine import Emit, Tick
from tori.modules.host import ModuleHost
from tori.modules.loop import ModuleLoop
from tori.modules.open import journal_directory
from tori.modules.registry import START_ORDER
from tori.orchestrator.ledger import Ledger
from tori.orchestrator.placement import LedgerRecord
from tori.resources.pressure import PressureChanged
from tori.scheduler import signal as sig
from tori.scheduler.book import Run, Task
from tori.scheduler.inbox import take
from tori.scheduler.machine import Scheduler
from tori.scheduler.spec import TaskSpec
from tori.scheduler.view import active_rows, run_row, story_row

LOOK_TIMEOUT_S = 2.0
HOLD_TIMEOUT_S = 300.0
LONGEST_WAIT_S = 3600.0
FUZZ = "concept_fuzz_test"
_FACTS = (SystemStarted, TaskStarted, TaskCompleted, TaskFailed, TaskCancelled, WorkThrottled)


class Runs:
    """The scheduler machine with its threads."""

    def __init__(
        self,
        home: Path,
        settings: Mapping[str, Any],
        clock: Clock,
        handles: Callable[[], Mapping[str, Any]],
        ledger: ModuleLoop,
        record: Callable[[list[Any], list[tuple[Any, str]]], None],
        take_checkpoint: Callable[[], Any],
        collect_metrics: Callable[[], None],
        plan: Plan | None = None,
        resources: Callable[[], Sequence[Mapping[str, float]]] = tuple,
    ) -> None:
        self._plan = plan or Plan(settings)
        self._resources = resources
        self.scheduler = Scheduler(self._plan.specs, clock, admission=self._plan.admission)
        self._home = home
        self._clock = clock
        self._handles = handles
        self._ledger = ledger
        self._record = record
        self._house: dict[str, Callable[[], Any]] = {
            "state_persistence": take_checkpoint,
            "performance_metrics": collect_metrics,
        }
        """The orchestrator's own work by task type; a text that it returns is the run's result, JSON."""
        self._stimuli: Stimuli = queue.Queue()
        self._attempts: dict[str, tuple[int, tuple[Any, ...]]] = {}
        self._begun: set[tuple[str, int]] = set()
        """Attempts of this process that have not ended."""
        self._cancelled: dict[tuple[str, int], bool] = {}
        """Those of them whose end was asked for; True = by force."""
        self._pool = ThreadPoolExecutor(settings["limits"]["concurrent_runs"], thread_name_prefix="tori-run")
        self._ended = threading.Event()
        self.on_failure: Callable[[BaseException], None] = lambda error: None
        self.is_held_up: Callable[[], bool] = lambda: False
        """Whether the machine's facts wait for room on the disk."""
        self._thread = threading.Thread(target=self._run, name="tori-scheduler", daemon=True)
        self._hold = threading.Lock()
        self._up: set[str] = set()
        self._is_held = False
        self._scans: set[Any] = set()
        """Scans outside the schedule that are under way."""

    def take_on(self, works: Mapping[str, Callable[[], Any]]) -> None:
        """Do these works of the orchestrator's own too, by task type; before ``start``."""
        self._house |= works

    # -- the loop ----------------------------------------------------------------------------------------------

    def start(self, measured: PressureChanged | None = None) -> None:
        """Begin, after ``remember``; ``measured``: the pressure of the machine, when it is known already."""
        self._measure()
        away = tuple(module for module in START_ORDER if module not in self._up)
        self._execute(self.scheduler.handle(sig.Recovered(away, measured)))
        self._thread.start()

    def remember(self, until: int | None = None) -> None:
        """Read what ran before, and whether the system was paused.

        ``until``: the offset in the ledger's journal from which on triggers are told instead, so that each counts once.
        """
        reader = JournalReader(journal_directory(self._home, "orchestrator"))
        decoder = msgspec.msgpack.Decoder(list[LedgerRecord])
        try:
            for unit in units(reader, reader.first_offset(), reader.limit()):
                for record in unit.records(decoder):
                    is_told = until is not None and unit.end > until and isinstance(record, sig.TaskTriggered)
                    if isinstance(record, sig.SchedulerRecord) and not is_told:
                        self.scheduler.apply(record, 0)
                for event in unit.events:
                    if isinstance(event.payload, _FACTS):
                        self.scheduler.apply(event.payload, event.time_ns)
        finally:
            reader.close()

    def stop(self) -> None:
        """Begin nothing more; what runs is ended, and begins again with the next start."""
        with contextlib.suppress(Unavailable):
            self._ask(sig.DrainRequested())
        self._ended.set()
        self.tell(Tick())

    def tell(self, stimulus: Any) -> None:
        """Give the machine a stimulus; returns at once."""
        self._stimuli.put((stimulus, None, []))

    def _ask(self, stimulus: Any, timeout_s: float = 30.0) -> None:
        ask(self._stimuli, stimulus, timeout_s, self.is_held_up, "the scheduler did not answer")

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                self._turn()
        except BaseException as error:
            if not self._ended.is_set():
                self.on_failure(error)

    def _turn(self) -> None:
        wake_ns = self.scheduler.wake_ns
        wait_s = LONGEST_WAIT_S if wake_ns is None else max(0.0, (wake_ns - self._clock.monotonic_ns()) / 1e9)
        waiting = take(self._stimuli, wait_s)
        if not waiting or (wait_s == 0.0 and not any(isinstance(stimulus, Tick) for stimulus, _, _ in waiting)):
            waiting.append((Tick(), None, []))  # what is due does not wait until nobody asks for anything
        instructions: list[Any] = []
        answered = []
        for stimulus, done, errors in waiting:
            if isinstance(stimulus, Tick):
                instructions += self._look()
            if isinstance(stimulus, sig.SpecsAdded):  # what came before it is no news to the tasks that are new
                self._execute(instructions)
                instructions = []
            try:
                instructions += self.scheduler.handle(stimulus)
            except IllegalTransition:  # nobody asked for that: the machine is wrong, and perhaps half changed
                raise
            except ToriError as error:
                errors.append(error)
            if done is not None:
                answered.append(done)
        self._execute(instructions)  # what fails here fails the process: a replay looks for what was under way
        for done in answered:
            done.set()

    def _look(self) -> list[Any]:
        """Tell the machine which modules' states have changed, if anything is due; return what it says to that."""
        wake_ns = self.scheduler.wake_ns
        if wake_ns is None or wake_ns > self._clock.monotonic_ns():
            return []
        self._measure()
        refs = {name: handle.version.remote() for name, handle in self._handles().items()}
        said: list[Any] = []
        for name, ref in refs.items():
            with contextlib.suppress(RayError):
                said += self.scheduler.handle(sig.VersionMoved(name, ray.get(ref, timeout=LOOK_TIMEOUT_S)))
        return said

    def _measure(self) -> None:
        """Take what is in the cluster for the budget; while that cannot be read, what was there last counts."""
        with contextlib.suppress(Exception):  # Ray says so with errors of many kinds while its GCS is away
            self._plan.measure(self._resources())

    # -- instructions ------------------------------------------------------------------------------------------

    def _execute(self, instructions: list[Any]) -> None:
        """Write all facts as one unit, then act in order: what may be under way is known, for one sync a turn."""
        self._commit([i for i in instructions if isinstance(i, (Emit, sig.Keep))])
        for instruction in instructions:
            if isinstance(instruction, sig.StartRun):
                self._begun.add((instruction.run_id, instruction.attempt))
                self._pool.submit(self._attempt, instruction)
            elif isinstance(instruction, sig.CancelRun):
                self._cancel(instruction)

    def _commit(self, facts: list[Any]) -> None:
        """Write events and private records of the machine as one durable unit of the orchestrator's journal."""
        if facts:
            events = [(f.payload, f.key) for f in facts if isinstance(f, Emit)]
            records = [f.record for f in facts if isinstance(f, sig.Keep)]
            self._record(records, events)

    def _attempt(self, order: sig.StartRun) -> None:
        run_id, attempt = order.run_id, order.attempt
        if order.spec.task_type in self._house:
            self.tell(sig.RunStarted(run_id, attempt))  # of Ray tasks their worker says so
        try:
            covers, result = self._work(order)
        except Exception as error:
            _, refs = self._attempts.get(run_id, (0, ()))
            end(refs, self._ended.is_set)  # who concludes it may be gone, and its work go on
            outcome: Any = _outcome(order, error)
        else:
            outcome = sig.RunFinished(run_id, attempt, covers, result)
        self._attempts.pop(run_id, None)
        self.tell(outcome)  # first: who finds the attempt gone calls it lost, and is heard after this
        self._begun.discard((run_id, attempt))
        self._cancelled.pop((run_id, attempt), None)

    def _work(self, order: sig.StartRun) -> tuple[dict[str, tuple[int, int]], str]:
        """Do an attempt; return the versions it covers, and what it has to say."""
        spec = order.spec
        if spec.task_type in self._house:
            said = self._house[spec.task_type]()
            return {}, said if isinstance(said, str) else ""
        if spec.task_id in self._plan.user:
            return {}, ray.get(self._follow(order, start_user(self._plan.user[spec.task_id], order)))
        handle = self._handles().get(spec.module)
        if handle is None:
            raise Unavailable(f"module {spec.module} is not running.", remedy="It is being started again.")
        if spec.task_type == FUZZ:
            resources, attempt = spec.resources_of(order.variant), (order.run_id, order.attempt)
            work = fuzz(self._handles(), resources, spec.shards, self._codes(), attempt)
        else:
            work = self._start_work(handle, order)
        self._follow(order, *work.refs)
        concluded: Conclusion = ray.get(handle.conclude.remote(spec.task_type, work.result))
        return {spec.module: (concluded.incarnation, concluded.covers)}, ""

    def _start_work(self, handle: Any, order: sig.StartRun) -> Work:
        """Begin the scan of an attempt, in the code that the module runs."""
        spec = order.spec
        return fan_out(
            spec.module,
            spec.task_type,
            handle.prepare.remote(spec.task_type),
            spec.resources_of(order.variant),
            spec.shards,
            code=self._codes().get(spec.module, ""),
            settings=self._plan.users,
            attempt=(order.run_id, order.attempt),
        )

    def _start_scan(self, handle: Any, module: str, task: str) -> Any:
        """Return the ref of what a scan outside the schedule finds."""
        return start_scan(handle, module, task, code=self._codes().get(module, ""), settings=self._plan.users)

    def _codes(self) -> dict[str, str]:
        """Return by module that was reloaded what tells its code from the earlier one."""
        found: dict[str, str] = self._ledger.call(lambda host: host.query("codes", {}))
        return found

    def _follow(self, order: sig.StartRun, *refs: Any) -> Any:
        """Note the Ray tasks of an attempt; one that was cancelled while it was being prepared is cancelled now. Returns the last."""
        try:
            settle(refs)
        finally:  # whatever becomes of that: they run
            self._attempts[order.run_id] = (order.attempt, refs)
        force = self._cancelled.get((order.run_id, order.attempt))
        if force is not None:
            cancel(refs, force=force)
        return refs[-1]

    def _cancel(self, order: sig.CancelRun) -> None:
        """End an attempt; one that this process did not begin went with the process that did: Ray asks its worker to end (ADR 19)."""
        if (order.run_id, order.attempt) not in self._begun:
            self.tell(sig.RunLost(order.run_id, order.attempt))
            return
        # before the look: whoever comes second sees the other
        self._cancelled[order.run_id, order.attempt] = order.force
        if (order.run_id, order.attempt) not in self._begun:  # it ended meanwhile
            self._cancelled.pop((order.run_id, order.attempt), None)
        attempt, refs = self._attempts.get(order.run_id, (0, ()))
        if attempt == order.attempt:
            cancel(refs, force=order.force)

    # -- for the orchestrator ----------------------------------------------------------------------------------

    def scan_now(self, module: str, task: str) -> int:
        """Run one scan outside the schedule; return how many events it made."""
        self.check_running()
        handle = self._handles()[module]
        ref = self._start_scan(handle, module, task)
        settle([ref])
        self._scans.add(ref)
        if self.scheduler.throttle[0] is sig.Throttle.STOPPED:  # it came meanwhile, and saw no scan
            cancel([ref], force=True)
        try:
            concluded: Conclusion = ray.get(handle.conclude.remote(task, ref))
        except Exception:
            end([ref], self._ended.is_set)
            raise
        finally:
            self._scans.discard(ref)
        return concluded.emitted

    def check_running(self) -> None:
        """Raise IllegalTransition during an emergency stop: whoever waits for work to be done would wait for ever."""
        level, reason = self.scheduler.throttle
        if level is sig.Throttle.STOPPED:
            raise IllegalTransition(
                f"an emergency stop is in force ({reason or 'by hand'}).", remedy="tori resume, then again."
            )

    def throttle(self, level: str, reason: str) -> dict[str, Any]:
        """Hold background work back, or let it go on; also what is under way outside the schedule."""
        if level not in [*sig.Throttle]:
            raise BadInput(f"there is no throttle {level!r}.", remedy=f"Levels: {', '.join(sig.Throttle)}.")
        old = self.scheduler.throttle[0]
        specs = self.scheduler.specs
        active = [r.run_id for r in self.scheduler.runs() if r.is_active and specs[r.task_id].is_interruptible]
        self._ask(sig.ThrottleRequested(sig.Throttle(level), reason))
        if level == sig.Throttle.STOPPED:
            cancel(list(self._scans), force=True)
        return {"level": level, "old": str(old), "runs": active if level == sig.Throttle.STOPPED else []}

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold every scan of the schedule: none begins inside, and those under way have ended."""
        with self._hold:
            self._is_held = True
            try:
                for module in START_ORDER:
                    self._ask(sig.ModuleAvailable(module, available=False))
                self._await_scans()
                yield
            finally:
                self._is_held = False
                for module in START_ORDER:
                    self.tell(sig.ModuleAvailable(module, module in self._up))

    def set_available(self, module: str, *, is_up: bool) -> None:
        """Note that a module can, or can no longer, be worked with; a hold outlasts that."""
        (self._up.add if is_up else self._up.discard)(module)
        if not self._is_held:
            self.tell(sig.ModuleAvailable(module, available=is_up))

    def learn(self, specs: tuple[TaskSpec, ...]) -> None:
        """Take tasks in while the schedule runs; those that wait for events hear of them from now on."""
        self._ask(sig.SpecsAdded(specs))  # first: who hears of an event for a task must know the task
        triggers = self._plan.triggers

        def listen(host: ModuleHost) -> None:
            assert isinstance(host.module, Ledger)
            host.module.listen(triggers)
            host.take_inputs()

        self._ledger.call(listen)

    def _await_scans(self) -> None:
        deadline = time.monotonic() + HOLD_TIMEOUT_S
        while any(run.is_active and self.scheduler.specs[run.task_id].module for run in self.scheduler.runs()):
            if time.monotonic() > deadline:
                raise Unavailable(
                    "a scan under way does not end.", remedy="Cancel it: tori task list, tori task cancel."
                )
            time.sleep(0.05)

    def request(self, task: str, run_id: str, *, force: bool = False) -> dict[str, Any]:
        """Run a task now; the same ``run_id`` asks once, however often it comes. What holds it is said at once.

        ``force``: whatever the pressure. Only slots, the budget and an emergency stop hold it then.
        """
        self.scheduler.task(task)
        self._ask(sig.RunRequested(task, run_id, force))
        row = run_row(self.scheduler, self.scheduler.run(run_id), self._clock.monotonic_ns())
        return {name: row[name] for name in ("run_id", "state", "held_by", "error")}

    def cancel(self, run_id: str) -> dict[str, Any]:
        """Cancel a run."""
        self._ask(sig.CancelRequested(run_id))
        return {"run_id": run_id, "state": str(self.scheduler.run(run_id).state)}

    def pause_task(self, task: str, *, paused: bool) -> dict[str, Any]:
        """Let a task's trigger rest, or go on: what was due meanwhile runs once."""
        self.scheduler.task(task)  # there is one: without a name the whole system would rest
        self._ask(sig.PauseRequested(task) if paused else sig.ResumeRequested(task))
        return {"task_id": task, "paused": paused}

    @property
    def is_paused(self) -> bool:
        return self.scheduler.is_paused

    def set_paused(self, *, paused: bool) -> None:
        """Rest, or go on, as a whole."""
        self._ask(sig.PauseRequested() if paused else sig.ResumeRequested())

    def pressure(self) -> dict[str, str]:
        """Return what admission goes by: ``level``, and the ``reason``."""
        level, reason = self.scheduler.pressure
        return {"level": level.name.lower(), "reason": reason if level else ""}

    def begun(self, run_id: str, attempt: int) -> None:
        """Hear of the worker of an attempt that it has begun."""
        self.tell(sig.RunStarted(run_id, attempt))

    def progress(self, run_id: str, attempt: int, done: float, total: float) -> None:
        """Take a word of how far an attempt has come."""
        self.tell(sig.RunProgressed(run_id, attempt, done, total))

    def story(self, run_id: str) -> dict[str, Any]:
        """Return what is known of a run, and its steps; raises BadInput when nothing is."""
        return story_row(self.scheduler, run_id, self._clock.monotonic_ns())

    def active(self) -> list[dict[str, Any]]:
        """Return the runs that have not ended."""
        return active_rows(self.scheduler, self._clock.monotonic_ns())

    def _held_by(self, spec: TaskSpec, task: Task, holds: Mapping[str, str]) -> str | None:
        """Return what keeps a task from running, with the remedy; None when nothing does."""
        level, reason = self.scheduler.throttle
        if level is sig.Throttle.STOPPED:
            return f"emergency stop ({reason or 'by hand'}): tori resume"
        if self.scheduler.is_paused:
            return "the system is paused: tori resume"
        if task.run_id in holds:
            return holds[task.run_id] or None
        if task.is_paused:
            return f"its task is paused: tori task resume {spec.task_id}"
        if spec.module and spec.module not in self._up:
            return f"module {spec.module} is not running"
        return None

    def tasks(self) -> list[dict[str, Any]]:
        """Return every task: interval, when it is due, counts, what holds it."""
        holds = dict(self.scheduler.holds())
        now = self._clock.monotonic_ns()
        rows = []
        newest: dict[str, Run] = {}
        for run in self.scheduler.runs():
            newest.setdefault(run.task_id, run)
        for spec in self.scheduler.specs.values():
            task = self.scheduler.task(spec.task_id)
            counts = task.counts
            last = newest.get(spec.task_id)
            rows.append(
                {
                    "task_id": spec.task_id,
                    "module": spec.module or "orchestrator",
                    "priority": spec.priority.name.lower(),
                    "interval_s": getattr(spec.trigger, "interval_s", None),
                    "due_in_s": None if task.next_due_ns is None else round((task.next_due_ns - now) / 1e9, 1),
                    "runs": sum(n for k, n in counts.items() if not k.startswith("skipped")),
                    "skipped": sum(n for k, n in counts.items() if k.startswith("skipped")),
                    "counts": dict(counts),
                    "paused": task.is_paused,
                    "last_state": None if last is None else str(last.state),
                    "held_by": self._held_by(spec, task, holds),
                }
            )
        return rows


def _outcome(order: sig.StartRun, error: Exception) -> sig.RunCancelled | sig.RunFailed:
    """Return how an attempt ended that has no result; Ray may wrap what happened, also a cancellation."""
    cause = error.cause if isinstance(error, RayTaskError) and error.cause is not None else error
    if isinstance(cause, TaskCancelledError):
        return sig.RunCancelled(order.run_id, order.attempt)
    text = (str(cause).strip().splitlines() or [type(cause).__name__])[0][:500]
    temporary = not isinstance(cause, PermanentError)
    return sig.RunFailed(order.run_id, order.attempt, f"{type(cause).__name__}: {text}", temporary)
