"""A simulated life of the scheduler: what a seed decides happens, and every promise is looked at after every step."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.sim.story import Story
from tests.sim.world import Outcome
from tests.support.schedule_world import CHANGED, LATE, PERMANENT, ScheduleWorld
from tori.resources.pressure import Pressure, PressureChanged
from tori.scheduler import signal as sig


class Schedule:
    """One scheduler, its executor and its shell, as one seed makes them."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(f"schedule {seed}")
        self.world = ScheduleWorld()
        self.story = Story(self.world.clock.monotonic_ns)
        self._actions: dict[str, tuple[float, Callable[[], str]]] = {
            "pass": (30, self._pass),
            "start": (8, self._start),
            "finish": (12, self._finish),
            "fail": (6, self._fail),
            "end": (8, self._end_cancelled),
            "progress": (2, self._progress),
            "late": (2, self._late),
            "ask": (6, self._ask),
            "cancel": (3, self._cancel),
            "pause": (2, self._pause),
            "trigger": (6, self._trigger),
            "hear": (5, self._hear),
            "much": (4, self._much),
            "clock jump": (1, self._jump),
            "version": (3, self._version),
            "module": (2, self._module),
            "pressure": (3, self._pressure),
            "kill soon": (3, self._kill_soon),
            "kill": (1, self._kill),
            "ship": (1, self._ship),
            "restore": (1, self._restore),
            "drain": (0.3, self._drain),
        }
        scale = {kind: self.rng.choice((0.3, 1.0, 1.0, 3.0)) for kind in self._actions}
        """Worlds differ in what they have much of."""
        self._kinds = list(self._actions)
        self._weights = [weight * scale[kind] for kind, (weight, _) in self._actions.items()]

    def run(self, steps: int) -> Outcome:
        """Take so many steps and then let everything come to its end."""
        violation = ""
        try:
            for step in range(1, steps + 1):
                self.story.step = step
                kind = self.rng.choices(self._kinds, self._weights)[0]
                self.story.tell(kind, self._actions[kind][1]())
                self.world.check()
            self.world.settle()
            self.story.tell("settled", f"{len(self.world.facts)} facts, {len(self.world.done)} runs ended")
        except Exception as error:  # whatever it is: the machine promises to raise nothing here
            violation = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            self.story.tell("VIOLATION", violation)
        return Outcome(
            self.seed, self.story.step, self.story.digest(), violation, self.story.lines(), dict(self.story.counts)
        )

    # -- what may happen: each returns what there is to tell ------------------------------------------------------

    def _pass(self) -> str:
        seconds = self.rng.choice((0.2, 0.5, 1.0, 1.0, 3.0, 5.0, 10.0, 60.0))
        self.world.pass_time(seconds)
        return f"{seconds} s"

    def _one_that_executes(self) -> str:
        return self.rng.choice(sorted(self.world.executing)) if self.world.executing else ""

    def _start(self) -> str:
        if run_id := self._one_that_executes():
            self.world.give(sig.RunStarted(*self.world.executing[run_id]))
        return run_id

    def _finish(self) -> str:
        if run_id := self._one_that_executes():
            self.world.give(sig.RunFinished(*self.world.end(run_id)))
        return run_id

    def _fail(self) -> str:
        if run_id := self._one_that_executes():
            temporary = self.rng.random() < 0.6
            error = "no" if temporary else PERMANENT
            self.world.give(sig.RunFailed(*self.world.end(run_id), error=error, temporary=temporary))
        return run_id

    def _end_cancelled(self) -> str:
        if not self.world.cancelling:
            return ""
        found = self.rng.choice(sorted(self.world.cancelling))
        self.world.cancelled(found)
        return found[0]

    def _progress(self) -> str:
        if run_id := self._one_that_executes():
            self.world.give(sig.RunProgressed(*self.world.executing[run_id], self.rng.uniform(0, 10), 10.0))
        return run_id

    def _late(self) -> str:
        ended = [run for run in self.world.machine.runs() if run.is_ended]
        if not ended:
            return ""
        run = self.rng.choice(ended)
        self.world.late_report(self.rng.choice((sig.RunStarted, sig.RunFinished, sig.RunLost, sig.RunCancelled)), run)
        return run.run_id

    def _ask(self) -> str:
        task_id = self.rng.choice(self.world.task_ids)
        run_id = f"{task_id}-asked-{self.rng.randrange(40)}"
        if self.world.has_forgotten(
            run_id
        ):  # its id means nothing any more: who used it again would ask for another run
            run_id += f"-{len(self.world.asked)}"
        self.world.ask_for(task_id, run_id)
        return run_id

    def _cancel(self) -> str:
        runs = self.world.machine.runs()
        if not runs:
            return ""
        run = self.rng.choice(runs[:20])
        self.world.give(sig.CancelRequested(run.run_id))
        return run.run_id

    def _pause(self) -> str:
        task_id = self.rng.choice(("", *self.world.task_ids))
        kind = self.rng.choice((sig.PauseRequested, sig.ResumeRequested, sig.ResumeRequested))
        self.world.give(kind(task_id))
        return f"{kind.__name__} {task_id}"

    def _trigger(self) -> str:
        cause = f"event-{self.rng.randrange(1_000_000_000)}"
        self.world.trigger(cause)
        return cause

    def _hear(self) -> str:
        untold = self.world.take_triggers()
        if untold:
            self.world.give(*untold)
        return f"of {len(untold)}"

    def _much(self) -> str:
        stimuli = self.world.much(self.rng.choice)
        self.world.give(*stimuli)
        return ", ".join(type(stimulus).__name__ for stimulus in stimuli)

    def _jump(self) -> str:
        seconds = self.rng.choice((-21_600.0, -3600.0, -60.0, 60.0, 3600.0, 21_600.0))
        self.world.jump(seconds)
        return f"{seconds} s"

    def _version(self) -> str:
        version = (self.rng.randint(1, 2), self.rng.randint(0, 3))
        self.world.give(sig.VersionMoved("m", version))
        return str(version)

    def _module(self) -> str:
        is_up = self.rng.random() < 0.6
        self.world.set_available(available=is_up)
        return "comes" if is_up else "goes"

    def _pressure(self) -> str:
        pressure = self.rng.choice((Pressure.NONE, Pressure.NONE, Pressure.HIGH, Pressure.SEVERE))
        sheds = pressure is not Pressure.NONE and self.rng.random() < 0.3
        self.world.give(PressureChanged(pressure, sheds))
        return f"{pressure.name}{', sheds' if sheds else ''}"

    def _kill_soon(self) -> str:
        self.world.crash_in = self.rng.randint(0, 3)
        return f"after {self.world.crash_in}"

    def _kill(self) -> str:
        self.world.kill()
        return ""

    def _ship(self) -> str:
        spec = self.rng.choice((LATE, *CHANGED))
        self.world.ship(spec)
        return f"{spec.task_id}: {spec.priority.name} {spec.group} {spec.resources.num_cpus}"

    def _restore(self) -> str:
        self.world.restore()
        return ""

    def _drain(self) -> str:
        self.world.give(sig.DrainRequested())
        while self.world.cancelling and self.rng.random() < 0.7:  # some end in time, and are heard
            self._end_cancelled()
        self.world.check()
        self.world.restart()
        return "and a new start"
