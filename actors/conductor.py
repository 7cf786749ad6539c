"""Executes what the lifecycle machine decides: creates, watches, pauses and ends the module actors.

One thread feeds the machine and executes its instructions in order; whatever takes long (creating an actor, waiting for its
end) happens in threads that answer with a stimulus.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import msgspec
import ray
from ray.exceptions import ActorUnavailableError, RayError

from actors.cast import CLIENTS, SUCCESSOR, actor_class, actor_name, is_relay, successor_name
from actors.failure import brief_error, cause_of
from actors.logging import EventLogger, event_logger
from actors.module import ShellConfig
from actors.names import NAMESPACE, ORCHESTRATOR
from actors.nodes import Nodes
from actors.options import control, module_options, remote_class
from actors.reload import Replaced, Replacement, refusal, reload_failure
from actors.request import Stimuli, ask
from actors.watch import REPLACED
from tori.clock import Clock
from tori.errors import JournalDamaged, JournalMissing, NoRoom, ToriError, Unavailable
from tori.events.system import StateCorrupted
from tori.machine import Emit, Tick
from tori.orchestrator import signal as sig
from tori.orchestrator.lifecycle import Lifecycle
from tori.orchestrator.state import State

ADOPT_TIMEOUT_S = 5.0
NAME_FREE_S = 5.0
LONGEST_WAIT_S = 3600.0
LOST_CALL_S = 0.2
"""Pause before a call that was lost on the way is made again; when the process is gone, Ray says so instead."""
LOOK_S, LOOKS = 1.0, 4
"""How often a start is looked at, and how often at least within its time."""


class Past(NamedTuple):
    """What an orchestrator knows of those before it."""

    epoch: int = 0
    """Of its own journal: larger than any earlier orchestrator's."""
    starts: Mapping[str, int] = {}
    """By module, the last incarnation that was started and not stopped."""
    is_reborn: bool = False
    """Ray started it again after a crash: starts count on, and who was given up stays down."""
    states: Mapping[str, str] = {}
    """By module, its last state."""
    failures: Mapping[str, Sequence[int]] = {}
    """By module, when it failed last, wall nanoseconds."""
    checked: Collection[str] = ()
    """Modules that it paused to check their recovery, and no person did: that check is over."""

    def of(self, name: str, now_ns: int) -> sig.Remember:
        """Return what there is to remember of a module, at the wall time ``now_ns``."""
        ages = tuple(now_ns - at for at in self.failures.get(name, ()))
        return sig.Remember(name, self.starts.get(name, 0), self.states.get(name) == State.DEGRADED, ages)


class Conductor:
    """The lifecycle machine with its threads."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        config_of: Callable[[str, int], ShellConfig],
        clock: Clock,
        emit: Callable[..., None],
        checkpoint: Callable[[str], None],
        snapshot: Callable[[str], Any],
        past: Past,
        nodes: Nodes,
    ) -> None:
        self.lifecycle = lifecycle
        self.handles: dict[str, Any] = {}
        self.restarts: dict[str, int] = dict.fromkeys(lifecycle.modules, 0)
        self.finished = threading.Event()
        self.failure: BaseException | None = None
        self.on_change: Callable[[str, bool], None] = lambda name, is_up: None
        """Called when a module can, or can no longer, be worked with."""
        self.missing: dict[str, JournalMissing] = {}
        """Modules whose journals are not where they were."""
        self.waits: dict[str, str] = {}
        """What a module that starts waits for; empty when it is at work."""
        self.is_held_up: Callable[[], bool] = lambda: False
        """Whether the machine's facts wait for room on the disk."""
        self._reloads: dict[str, Future[Replaced]] = {}
        """By module, how its latest reload ended."""
        self._successors: dict[str, Any] = {}
        self._config_of = config_of
        self._nodes = nodes
        self._clock = clock
        self._emit = emit
        self._checkpoint = checkpoint
        self._snapshot = snapshot
        self._past = past
        self._stimuli: Stimuli = queue.Queue()
        self._pool = ThreadPoolExecutor(16, thread_name_prefix="tori-conduct")
        self._execute: dict[type, Callable[[Any], None]] = {
            Emit: lambda i: self._emit(i.payload),
            sig.StartModule: lambda i: self._later(self._start, i),
            sig.StopModule: lambda i: self._later(self._stop, i),
            sig.KillModule: self._kill,
            sig.PauseModule: lambda i: self._set_paused(i, paused=True),
            sig.ResumeModule: lambda i: self._set_paused(i, paused=False),
            sig.TakeCheckpoint: lambda i: self._later(self._save, i),
            sig.ReplaceModule: self._begin_replacing,
            sig.KillSuccessor: self._kill_successor,
            sig.Finish: lambda i: self.finished.set(),
        }
        self._thread = threading.Thread(target=self._run, name="tori-conductor", daemon=True)

    def start(self) -> None:
        """Adopt what lives, then start the rest. One that lives but is busy is waited for as one that starts is."""
        if self._past.is_reborn:
            for name in self.lifecycle.modules:
                self._obey(self._past.of(name, self._clock.wall_ns()))
        living = {control(handle, "ready").remote(): (name, handle) for name, handle in self._living()}
        answered, busy = (
            ray.wait(list(living), num_returns=len(living), timeout=ADOPT_TIMEOUT_S) if living else ([], [])
        )
        for ref in answered:
            self._adopt(*living[ref], ref)
        for ref in busy:
            name, handle = living[ref]
            if name in self.handles:
                continue
            incarnation = max(1, self._past.starts.get(name, 1))
            self._obey(sig.Adopt(name, incarnation, is_ready=False))
            self._pool.submit(self._await_busy, name, incarnation, handle, ref)
        self._thread.start()

    def _living(self) -> Iterator[tuple[str, Any]]:
        """Yield the modules whose actors have a name; whether their processes live is for them to say."""
        for name in self.lifecycle.modules:
            for handle in self._actors_of(name):
                yield name, handle

    def _actors_of(self, name: str) -> Iterator[Any]:
        """Yield the actors of a module. After a reload that was cut short it has two: who does not have the module says so."""
        plain = actor_name(name)
        named = sorted(one["name"] for one in ray.util.list_named_actors(all_namespaces=True))
        for found in named:
            if found == plain or found.startswith(f"{plain}{SUCCESSOR}"):
                with contextlib.suppress(ValueError):
                    yield ray.get_actor(found, namespace=NAMESPACE)

    # -- the loop ----------------------------------------------------------------------------------------------

    def tell(self, stimulus: Any) -> None:
        """Give the machine a stimulus; returns at once."""
        self._stimuli.put((stimulus, None, []))

    def ask(self, stimulus: Any, timeout_s: float = 30.0) -> None:
        """Give the machine a request and wait until it was handled; raises what the machine raised."""
        ask(self._stimuli, stimulus, timeout_s, self.is_held_up, "the orchestrator did not handle the request")

    def _run(self) -> None:
        try:
            while not self.finished.is_set():
                self._turn()
        except BaseException as error:
            self.failure = error
            self.finished.set()

    def _turn(self) -> None:
        stimulus, done, errors = self._next()
        try:
            instructions = self.lifecycle.handle(stimulus)
        except ToriError as error:
            errors.append(error)
            instructions = []
        self._perform(instructions)
        if done is not None:
            done.set()

    def _obey(self, stimulus: Any) -> None:
        """Have the machine take a stimulus and execute what follows, before the thread runs."""
        self._perform(self.lifecycle.handle(stimulus))

    def _perform(self, instructions: Iterable[Any]) -> None:
        for instruction in instructions:
            self._execute[type(instruction)](instruction)

    def _next(self) -> tuple[Any, threading.Event | None, list[BaseException]]:
        wake_ns = self.lifecycle.wake_ns
        wait_s = LONGEST_WAIT_S
        if wake_ns is not None:
            wait_s = max(0.0, (wake_ns - self._clock.monotonic_ns()) / 1e9)
        try:
            return self._stimuli.get(timeout=wait_s)
        except queue.Empty:
            return Tick(), None, []

    def _later(self, work: Callable[[Any], None], instruction: Any) -> None:
        self._pool.submit(work, instruction)

    # -- instructions ------------------------------------------------------------------------------------------

    def _adopt(self, name: str, handle: Any, ready: Any) -> None:
        """Take a living module over; one that died, or whose loop did, is started again with the rest."""
        try:
            found = ray.get(ready)
            is_paused = found["view"].paused
            if is_paused and name in self._past.checked:
                ray.get(control(handle, "pause").remote(paused=False))
                is_paused = False
        except (RayError, ToriError) as error:
            self._log(name).info("not adopted: %s", brief_error(error))
            with contextlib.suppress(RayError):
                ray.kill(handle, no_restart=True)
            return
        incarnation = int(found["incarnation"])
        self.restarts[name] = incarnation - 1
        self._obey(sig.Adopt(name, incarnation, paused=is_paused))
        self._hold(name, incarnation, handle)

    def _await_busy(self, name: str, incarnation: int, handle: Any, ready: Any) -> None:
        """Wait for the answer of a module that lives and is busy; the machine ends it when that takes too long."""
        self.restarts[name] = incarnation - 1
        try:
            if self._await_ready(name, incarnation, handle, ready)["view"].paused:
                ray.get(control(handle, "pause").remote(paused=False))
        except Exception as error:
            self._died(name, incarnation, error)
            return
        self._hold(name, incarnation, handle)
        self.tell(sig.ModuleReady(name, incarnation))

    def _hold(self, name: str, incarnation: int, handle: Any) -> None:
        self.handles[name] = handle
        self.on_change(name, True)
        self._watch_over(name, incarnation, handle)

    def _watch_over(self, name: str, incarnation: int, handle: Any) -> None:
        threading.Thread(
            target=self._watch, args=(name, incarnation, handle), name=f"tori-watch-{name}", daemon=True
        ).start()

    def _start(self, instruction: sig.StartModule) -> None:
        name, incarnation = instruction.module, instruction.incarnation
        self.restarts[name] = incarnation - 1
        try:
            self._clear(name)
            handle = self._create(name, incarnation, is_paused=instruction.paused)
            found = self._await_ready(name, incarnation, handle, control(handle, "ready").remote())
            self.missing.pop(name, None)
            if found["events"]:
                self._emit(*found["events"])
        except Exception as error:
            cause = cause_of(error)
            if isinstance(cause, JournalDamaged):
                self._emit(StateCorrupted("", (name,), 0, str(cause.fields.get("journal", "")), ""))
            if isinstance(cause, JournalMissing):
                self.missing[name] = cause
            self._died(name, incarnation, error)
            return
        self._hold(name, incarnation, handle)
        self.tell(sig.ModuleReady(name, incarnation))

    def _await_ready(self, name: str, incarnation: int, handle: Any, ready: Any) -> Any:
        """Return what ``ready`` answers. The time for it counts from the last progress of the recovery: a replay may be long.

        Who waits for room on a full disk is not hurried: no other process would be quicker. The machine kills a module that makes
        no progress in that time, which ends the wait with Ray's error.
        """
        patience_s, reached = self.lifecycle.options.start_timeout_s, 0
        try:
            while True:
                try:
                    while not ray.wait([ready], timeout=min(LOOK_S, patience_s / LOOKS))[0]:
                        view = ray.get(control(handle, "view").remote())
                        self.waits[name] = view.waits_for
                        if view.replayed_units > reached or view.waits_for:
                            reached = view.replayed_units
                            self.tell(sig.ModuleProgressed(name, incarnation))
                    return ray.get(ready)
                except (ActorUnavailableError, NoRoom):
                    # A lost call is no death, Ray says that otherwise; who waits for room frees the thread of this call.
                    time.sleep(LOST_CALL_S)
                    ready = control(handle, "ready").remote()
        finally:
            self.waits.pop(name, None)

    def _create(self, name: str, incarnation: int, code: str = "", *, is_paused: bool = False) -> Any:
        """Return a new actor of a module; with ``code`` it is a successor, in a process that has imported nothing."""
        config = msgspec.structs.replace(self._config_of(name, incarnation), is_paused=is_paused)
        if code:
            config = msgspec.structs.replace(config, code=code, succeeds=True)
        called = successor_name(name, incarnation) if code else actor_name(name)
        streams = 2 * len(self._nodes.relays) if name == CLIENTS or is_relay(name) else 0
        strategy = self._nodes.strategy(name)
        options = module_options(called, strategy=strategy, streams=streams, code=config.code)
        remote = remote_class(actor_class(name), options)
        deadline = time.monotonic() + NAME_FREE_S
        while True:
            try:
                return remote.remote(config, self._snapshot(name))
            except ValueError:  # the name of the one that was killed is not free yet
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _clear(self, name: str) -> None:
        for handle in self._actors_of(name):
            with contextlib.suppress(RayError):
                ray.kill(handle, no_restart=True)

    # -- reload ------------------------------------------------------------------------------------------------

    def reload(self, name: str, from_version: str, to_version: str) -> Replaced:
        """Put the code that is installed now in the place of the code that runs; raises ReloadFailed when the old goes on."""
        self.ask(sig.ReloadRequested(name, from_version, to_version))
        try:
            return self._reloads[name].result()
        except Exception as error:
            raise reload_failure(name, (from_version, to_version), error) from None

    def _begin_replacing(self, instruction: sig.ReplaceModule) -> None:
        self._reloads[instruction.module] = self._pool.submit(self._replace, instruction)

    def _replace(self, instruction: sig.ReplaceModule) -> Replaced:
        """Replace a module's actor and say how it went: to the machine, and to who asked."""
        name, incarnation = instruction.module, instruction.incarnation
        try:
            found = self._exchange(name, incarnation)
        except Exception as error:
            self._log(name).error("reload refused: %s", brief_error(error), exc_info=error)
            self.ask(sig.ReplaceFailed(name, incarnation, refusal(error)))
            raise
        self._successors.pop(name, None)
        return found

    def _exchange(self, name: str, incarnation: int) -> Replaced:
        old = self.handles[name]
        to_version = self.lifecycle.modules[name].versions[1]
        new = self._successors[name] = self._create(name, incarnation, f"{to_version}.{incarnation}")
        replacement = Replacement(name, old, new, self.lifecycle.options.start_timeout_s)
        found = replacement.run(lambda is_up: self.on_change(name, is_up))
        if self.handles.get(name) is not old:
            raise Unavailable(f"module {name} died over its reload.", remedy="It is being started again.")
        self.handles[name] = new
        self.ask(sig.ModuleReplaced(name, incarnation, found.pause_s, found.version))
        self._watch_over(name, incarnation, new)
        with contextlib.suppress(RayError):
            ray.kill(old, no_restart=True)
        return found

    def _kill_successor(self, instruction: sig.KillSuccessor) -> None:
        handle = self._successors.pop(instruction.module, None)
        if handle is not None:
            with contextlib.suppress(RayError):
                ray.kill(handle, no_restart=True)

    def _watch(self, name: str, incarnation: int, handle: Any) -> None:
        """Wait in one pending call for the actor's end: Ray fails it the moment the process dies."""
        try:
            if self._await_end(handle) is REPLACED:
                return  # a newer orchestrator has taken over, and this one will be told to end
            stimulus: Any = sig.ModuleStopped(name, incarnation)
        except Exception as error:
            stimulus = sig.ModuleDied(name, incarnation, brief_error(error), type(cause_of(error)).__name__)
            self._nodes.suspect(name)
        if self.handles.get(name) is handle:
            del self.handles[name]
            self.on_change(name, False)
        with contextlib.suppress(RayError):
            ray.kill(handle, no_restart=True)
        self.tell(stimulus)

    def _await_end(self, handle: Any) -> Any:
        """Return how the actor's end was told; a call that was lost on the way is made again: it is no death."""
        for turn in itertools.count():
            try:
                return ray.get(control(handle, "watch").remote(self._past.epoch, turn))
            except ActorUnavailableError:
                time.sleep(LOST_CALL_S)
        raise AssertionError("counting ends never")

    def _died(self, name: str, incarnation: int, error: BaseException) -> None:
        """Tell of a start that failed, and keep its traceback; it may be the node that is gone."""
        self._nodes.suspect(name)
        self._log(name).error("start %d failed: %s", incarnation, brief_error(error), exc_info=error)
        self.tell(sig.ModuleDied(name, incarnation, brief_error(error), type(cause_of(error)).__name__))

    def _log(self, name: str) -> EventLogger:
        return event_logger(ORCHESTRATOR, subject=name)

    def _stop(self, instruction: sig.StopModule) -> None:
        handle = self.handles.get(instruction.module)
        if handle is None:  # it still starts, maybe waits for room: its start fails now, and that is heard
            self._clear(instruction.module)
            return
        with contextlib.suppress(RayError):
            ray.get(control(handle, "stop").remote())

    def _kill(self, instruction: sig.KillModule) -> None:
        handle = self.handles.pop(instruction.module, None)
        if handle is not None:
            with contextlib.suppress(RayError):
                ray.kill(handle, no_restart=True)
        else:
            self._clear(instruction.module)

    def _set_paused(self, instruction: Any, *, paused: bool) -> None:
        handle = self.handles.get(instruction.module)
        if handle is not None:
            control(handle, "pause").remote(paused=paused)

    def _save(self, instruction: sig.TakeCheckpoint) -> None:
        name, incarnation = instruction.module, instruction.incarnation
        try:
            self._checkpoint(name)
        except Exception as error:
            self.tell(sig.CheckpointFailed(name, incarnation, brief_error(error)))
            return
        self.tell(sig.CheckpointDone(name, incarnation))
