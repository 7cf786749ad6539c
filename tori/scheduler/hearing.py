"""Which tasks an event makes due, and which it must not, because it would never end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tori.errors import BadSettings
from tori.events import system
from tori.events.catalogue import BY_NAME
from tori.events.envelope import Event
from tori.events.topic import Matcher, Topic
from tori.scheduler.trigger import EventTrigger, Trigger, followers

ORCHESTRATOR = "orchestrator"
_OF_RUNS = (system.TaskStarted, system.TaskCompleted, system.TaskFailed, system.TaskCancelled)
_BITS = sum(1 << BY_NAME[kind.__name__].number for kind in _OF_RUNS)


class Hearing:
    """The event triggers of tasks, by task.

    What a run's events make due may itself have runs, whose events make something due: an event of a task's run is no news to a task
    that leads back to it, be it itself, through other tasks that hear of runs, or through tasks that follow one another.
    """

    def __init__(self, triggers: Mapping[str, Trigger]) -> None:
        self._matchers = {name: one.matcher for name, one in triggers.items() if isinstance(one, EventTrigger)}
        self._followers = followers(triggers)
        self._reached: dict[str, frozenset[str]] = {}
        self.types = 0
        """Bits of the type numbers that may make something due."""
        for matcher in self._matchers.values():
            self.types |= matcher.type_set

    def due(self, event: Event, source: str) -> list[str]:
        """Return the tasks that an event from ``source`` makes due."""
        found = [name for name, matcher in self._matchers.items() if matcher.accepts(event, source)]
        payload = event.payload
        if found and source == ORCHESTRATOR and isinstance(payload, _OF_RUNS):
            return [name for name in found if payload.task_id not in self._reach(name)]
        return found

    def _reach(self, task_id: str) -> frozenset[str]:
        """Return every task that runs of this one may lead to, itself included."""
        known = self._reached.get(task_id)
        if known is None:
            found, waiting = {task_id}, [task_id]
            while waiting:
                one = waiting.pop()
                after = {*self._followers.get(one, ()), *self._hear_of(one)} - found
                found |= after
                waiting += after
            known = self._reached[task_id] = frozenset(found)
        return known

    def _hear_of(self, task_id: str) -> list[str]:
        return [name for name, matcher in self._matchers.items() if matcher.may_accept(_BITS, ORCHESTRATOR, task_id)]


def check_sources(task_id: str, trigger: Trigger, known: Sequence[str]) -> None:
    """Raise BadSettings for a topic whose source is none of the journals that there are: it would never make anything due."""
    for text in trigger.topics if isinstance(trigger, EventTrigger) else ():
        matcher = Matcher([Topic.parse(text)])
        if not any(matcher.may_accept(matcher.type_set, source) for source in known):
            raise BadSettings(
                f"task {task_id} waits for {text!r}, but nobody is called {text.partition(':')[0]!r}.",
                remedy=f"Sources: {', '.join(known)}.",
            )
