"""Which tasks an event makes due, and which it must not, because it would never end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tori.errors import BadSettings
from tori.events import system
from tori.events.catalogue import BY_NAME
from tori.events.codec import tag_of
from tori.events.envelope import Event
from tori.events.topic import Matcher, Topic
from tori.scheduler.trigger import AfterTrigger, EventTrigger, Trigger

ORCHESTRATOR = "orchestrator"
_OF_RUNS = (system.TaskStarted, system.TaskCompleted, system.TaskFailed, system.TaskCancelled)
_BITS = sum(1 << BY_NAME[kind.__name__].number for kind in _OF_RUNS)


class Hearing:
    """The event triggers of tasks, by task.

    What a run's events make due may itself have runs, whose events make something due: an event of a task's run is no news to a task
    that leads back to it, be it itself, through other tasks that hear of runs, or through tasks that follow one another.
    """

    def __init__(self, triggers: Mapping[str, Trigger]) -> None:
        self._triggers = dict(triggers)
        self._matchers = {name: one.matcher for name, one in triggers.items() if isinstance(one, EventTrigger)}
        self.types = 0
        """Bits of the type numbers that may make something due."""
        for matcher in self._matchers.values():
            self.types |= matcher.type_set
        self._takers: dict[int, list[tuple[str, Matcher]]] = {}
        """By the bit of a type: the tasks that may take it, found when the first event of it comes."""
        self._heard: dict[str, list[Topic]] = {}
        """By task: the topics by which it hears of runs, found when first looked for, as is all that follows."""
        self._named: dict[str, frozenset[str]] = {}
        """By the key of a topic: the tasks whose runs it fits."""
        self._leading: dict[str, frozenset[str]] = {}
        self._same: dict[frozenset[str], frozenset[str]] = {}
        """Each of these sets once: tasks that hear of one another have the same."""

    def due(self, event: Event, source: str) -> list[str]:
        """Return the tasks that an event from ``source`` makes due."""
        payload = event.payload
        bit = 1 << tag_of(type(payload))
        if not self.types & bit:
            return []
        takers = self._takers.get(bit)
        if takers is None:
            takers = self._takers[bit] = [(n, m) for n, m in self._matchers.items() if m.type_set & bit]
        found = [name for name, matcher in takers if matcher.accepts(event, source)]
        if found and source == ORCHESTRATOR and isinstance(payload, _OF_RUNS):
            leading = self._leading_to(payload.task_id)
            return [name for name in found if name not in leading]
        return found

    def _leading_to(self, task_id: str) -> frozenset[str]:
        """Return the tasks with event triggers whose runs may lead to runs of this one, itself included."""
        if task_id not in self._triggers:
            return frozenset()
        known = self._leading.get(task_id)
        if known is None:
            found = self._search(task_id).intersection(self._matchers)
            known = self._leading[task_id] = self._same.setdefault(found, found)
        return known

    def _search(self, task_id: str) -> frozenset[str]:
        """Go back from a task to those it may be due by; each task and each key is looked at once."""
        found, waiting, keys = {task_id}, [task_id], set[str]()
        while waiting:
            one = waiting.pop()
            trigger = self._triggers.get(one)
            before = set(trigger.task_ids) if isinstance(trigger, AfterTrigger) else set[str]()
            for topic in self._topics_of(one):
                if not topic.key.strip("*"):  # of runs of whatever task
                    return frozenset(self._triggers)
                if topic.key not in keys:
                    keys.add(topic.key)
                    before |= self._fits(topic)
            before -= found
            found |= before
            waiting += before
        return frozenset(found)

    def _topics_of(self, task_id: str) -> list[Topic]:
        """Return the topics by which a task hears of runs."""
        known = self._heard.get(task_id)
        if known is None:
            trigger, matcher = self._triggers.get(task_id), self._matchers.get(task_id)
            known = []
            if isinstance(trigger, EventTrigger) and matcher is not None and matcher.may_accept(_BITS, ORCHESTRATOR):
                topics = [Topic.parse(text) for text in trigger.topics]
                known = [topic for topic in topics if Matcher([topic]).may_accept(_BITS, ORCHESTRATOR)]
            self._heard[task_id] = known
        return known

    def _fits(self, topic: Topic) -> frozenset[str]:
        """Return the tasks whose runs have a key that a topic fits."""
        if "*" not in topic.key and "?" not in topic.key:
            return frozenset((topic.key,))
        known = self._named.get(topic.key)
        if known is None:
            matcher = Matcher([topic])
            fits = (name for name in self._triggers if matcher.may_accept(_BITS, ORCHESTRATOR, name))
            known = self._named[topic.key] = frozenset(fits)
        return known


def check_sources(task_id: str, trigger: Trigger, known: Sequence[str]) -> None:
    """Raise BadSettings for a topic whose source is none of the journals that there are: it would never make anything due."""
    for text in trigger.topics if isinstance(trigger, EventTrigger) else ():
        matcher = Matcher([Topic.parse(text)])
        if not any(matcher.may_accept(matcher.type_set, source) for source in known):
            raise BadSettings(
                f"task {task_id} waits for {text!r}, but nobody is called {text.partition(':')[0]!r}.",
                remedy=f"Sources: {', '.join(known)}.",
            )
