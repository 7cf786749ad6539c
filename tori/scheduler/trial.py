"""A trial of a task that comes from afar: a scheduler of its own lives with it for a moment, before anything of it is kept."""

from __future__ import annotations

from dataclasses import replace

from tori.clock import VirtualClock
from tori.errors import BadSettings, ToriError
from tori.machine import Tick
from tori.resources.pressure import Pressure, PressureChanged
from tori.scheduler import signal as sig
from tori.scheduler.admission import SlotPolicy
from tori.scheduler.machine import Scheduler
from tori.scheduler.spec import MOST_OF_A_RESOURCE, TaskSpec
from tori.scheduler.trigger import AfterTrigger, DemandTrigger


def try_out(spec: TaskSpec) -> None:
    """Raise BadSettings when a scheduler cannot live with a task: kept, it would end each orchestrator that reads of it."""
    is_follower = isinstance(spec.trigger, AfterTrigger)  # whom it follows is not here
    alone = replace(spec, trigger=DemandTrigger()) if is_follower else spec
    admission = SlotPolicy(budget={"CPU": float(MOST_OF_A_RESOURCE)}, ageing_s=1.0)
    try:
        machine = Scheduler((alone,), VirtualClock(), admission=admission)
        for stimulus in (
            sig.Recovered(),
            sig.RunRequested(spec.task_id, "trial"),
            Tick(),
            PressureChanged(Pressure.SEVERE, sheds=True),
            sig.RunFailed("trial", 1, "a trial", temporary=True),
        ):
            machine.handle(stimulus)
        machine.snapshot()
    except ToriError:
        raise
    except Exception as error:  # whatever it is: here it harms nobody
        raise BadSettings(
            f"the scheduler cannot work with task {spec.task_id}: {type(error).__name__}: {error}.",
            remedy="Correct its options.",
        ) from error
