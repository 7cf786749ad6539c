"""Metamorphic relations: what must stay the same when a module is treated differently.

Metamorphic testing needs no oracle for the right answer, only a relation between two answers (T. Y. Chen, S. C. Cheung
and S. M. Yiu, HKUST-CS98-01, 1998). Each relation takes a ``Trial`` and returns an empty string, or what broke. All
choices come from the trial's seed, so a seed replays a finding.

*Independent* events are events of different subjects (ordering key, else the payload's first field) of which none
causes the other: the host promises order per key and nothing else. A shuffle is a random linear extension of that
dependence order, that is, another word of the same Mazurkiewicz trace.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from tori.events.envelope import Event
from tori.events.mind import DocumentEmbedded, DocumentIngested
from tori.modules.base import Module
from tori.modules.fuzzing.shadow import Shadow
from tori.modules.fuzzing.target import FuzzTarget, resolve
from tori.modules.scan import scan

TOLERANCE = 1e-4
"""Relative difference of floats that a reordered float32 sum may leave (``vector_rotation`` only)."""


class Trial:
    """One target under one seed."""

    def __init__(self, target: FuzzTarget, seed: int) -> None:
        self.target = target
        self.random = random.Random(seed)
        self.module_class: type[Module] = resolve(target.path)
        self.readable = {e.id: e for e in target.events}
        self.events = [e for e in target.events if isinstance(e.payload, self.module_class.inputs)]

    def empty(self) -> Shadow:
        """Return a shadow that has seen nothing."""
        return Shadow(self.module_class(), self.readable)

    def live(self) -> Shadow:
        """Return a shadow of the live state."""
        shadow = self.empty()
        if self.target.snapshot:
            shadow.module.restore(self.target.snapshot)
        return shadow

    def told(self, events: Sequence[Event], batch: int = 64) -> Shadow:
        """Return a shadow that began empty, took ``events`` and settled."""
        shadow = self.empty()
        shadow.feed(events, batch)
        shadow.settle()
        return shadow

    def cut(self) -> tuple[list[Event], list[Event]]:
        """Return the sample in two parts, cut anywhere."""
        at = self.random.randint(0, len(self.events))
        return self.events[:at], self.events[at:]


Relation = Callable[[Trial], str]


def snapshot_roundtrip(trial: Trial) -> str:
    """Restore takes a snapshot back whole: same bytes and section, once and twice, live and after more events."""
    for shadow in (trial.live(), trial.told(trial.events)):
        module, data = shadow.module, shadow.module.snapshot()
        copy = trial.module_class()
        for time in ("first", "second"):
            copy.restore(data)
            if copy.snapshot() != data:
                return f"the {time} restore gives other bytes than the snapshot it took"
            broken = difference(module.section(), copy.section())
            if broken:
                return f"after the {time} restore: {broken}"
    return ""


def checkpoint_anywhere(trial: Trial) -> str:
    """A module that went through snapshot and restore goes on exactly like one that did not."""
    return _checkpoint(trial, *trial.cut()) or _checkpoint(trial, trial.events, [])


def _checkpoint(trial: Trial, before: Sequence[Event], after: Sequence[Event]) -> str:
    through, straight = trial.live(), trial.live()
    for shadow in (through, straight):
        shadow.feed(before)
    copy = trial.module_class()
    copy.restore(through.module.snapshot())
    through.module = copy
    for shadow in (through, straight):
        shadow.feed(after)
        shadow.settle()
    if through.module.snapshot() != straight.module.snapshot():
        return f"after a checkpoint at event {len(before)} the state goes another way"
    return difference(straight.module.section(), through.module.section())


def replay_equals_living(trial: Trial) -> str:
    """Applying the same inputs and facts again, without deciding, gives the same state."""
    lived = trial.told(trial.events, trial.random.choice((1, 7, 64)))
    replayed = trial.empty()
    for fact in lived.story:
        replayed.module.apply(fact)
    if replayed.module.snapshot() != lived.module.snapshot():
        return "a replay of inputs and facts ends in another state"
    return difference(lived.module.section(), replayed.module.section())


def duplicate_delivery(trial: Trial) -> str:
    """The same document delivered again, anywhere later, changes nothing after the pass."""
    newest = {e.payload.document_id: e for e in trial.events if isinstance(e.payload, DocumentIngested)}
    chosen = [e for e in newest.values() if trial.random.random() < 0.5] or list(newest.values())[:1]
    twice = list(trial.events)
    for event in chosen:
        twice.insert(trial.random.randint(twice.index(event) + 1, len(twice)), event)
    return difference(trial.told(trial.events).module.section(), trial.told(twice).module.section())


def event_order(trial: Trial) -> str:
    """Independent events in another order end in the same section."""
    mixed = shuffled(trial.events, trial.random)
    return difference(trial.told(trial.events).module.section(), trial.told(mixed).module.section())


def batch_borders(trial: Trial) -> str:
    """Where batches are cut does not show after the pass."""
    one, other = trial.told(trial.events, 1), trial.told(trial.events, trial.random.randint(2, 97))
    return difference(one.module.section(), other.module.section())


def clock_shift(trial: Trial) -> str:
    """The same events years later, with hours between the batches, end in the same section."""
    later = Shadow(trial.module_class(), trial.readable, trial.random.uniform(0, 9e8), trial.random.uniform(1, 1e5))
    later.feed(trial.events)
    later.settle()
    return difference(trial.told(trial.events).module.section(), later.module.section())


def interim_passes(trial: Trial) -> str:
    """Passes run on the way leave no trace in the last one."""
    before, after = trial.cut()
    shadow = trial.empty()
    shadow.feed(before)
    shadow.settle()
    shadow.feed(after)
    shadow.settle()
    return difference(trial.told(trial.events).module.section(), shadow.module.section())


def decide_reads_only(trial: Trial) -> str:
    """decide, prepare, conclude, section and snapshot change nothing."""
    return _writes(trial, trial.live()) or _writes(trial, trial.told(trial.cut()[0]))


def _writes(trial: Trial, shadow: Shadow) -> str:
    module = shadow.module
    held, shown = module.snapshot(), _frozen(module.section())
    for name in _readings(trial, shadow):
        if module.snapshot() != held or _frozen(module.section()) != shown:
            return f"{name} changed the state"
    return ""


def _readings(trial: Trial, shadow: Shadow) -> Iterator[str]:
    """Do what must only read, one by one; yield the name of what was just done."""
    module = shadow.module
    module.decide(trial.events, shadow.context())
    yield "decide"
    for task in module.tasks:
        data = module.prepare(task)
        yield f"prepare({task})"
        module.conclude(task, scan(trial.module_class, task, data), shadow.context())
        yield f"conclude({task})"


def conclude_idempotent(trial: Trial) -> str:
    """The same result concluded twice says nothing the second time."""
    fed = trial.empty()
    fed.feed(trial.events)
    for shadow in (trial.live(), fed):
        for task in shadow.module.tasks:
            result, _ = shadow.scan(task)
            again = shadow.module.conclude(task, result, shadow.context())
            if again:
                return f"{task} concluded twice emits {_names(again)} the second time"
    return ""


def scan_repeatable(trial: Trial) -> str:
    """A scan of the same input gives the same bytes, and a second pass finds nothing new."""
    shadow = trial.empty()
    shadow.feed(trial.events)
    for task in shadow.module.tasks:
        data = shadow.module.prepare(task)
        if scan(trial.module_class, task, data) != scan(trial.module_class, task, data):
            return f"run({task}) is not a function of its input"
        shadow.scan(task)
    again = shadow.settle()
    return f"a second pass emits {_names(again)}" if again else ""


def invariants_hold(trial: Trial) -> str:
    """validate() finds nothing: on the live copy, in the middle of the sample, and after the pass."""
    shadow = trial.live()
    before, after = trial.cut()
    for events in ([], before, after):
        shadow.feed(events)
        shadow.module.validate()
    shadow.settle()
    shadow.module.validate()
    return ""


def section_is_content(trial: Trial) -> str:
    """The section is plain JSON without NaN and names no event."""
    section = trial.told(trial.events).module.section()
    try:
        text = json.dumps(section, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        return f"the section is not plain JSON: {error}"
    if json.loads(text) != section:
        return "the section is not plain JSON: it changes in a round trip"
    named = sorted(e.id.hex() for e in trial.events if e.id.hex() in text)
    return f"the section names event {named[0]}" if named else ""


def vector_rotation(trial: Trial) -> str:
    """Rotating all vectors alike changes no similarity, so no finding.

    The rotation is a signed permutation of coordinates: orthogonal, and exact in float16.
    """
    import numpy as np

    embedded = [e for e in trial.events if isinstance(e.payload, DocumentEmbedded)]
    width = max((len(e.payload.vector) // 2 for e in embedded if isinstance(e.payload, DocumentEmbedded)), default=0)
    order = trial.random.sample(range(width), width)
    signs = np.array([trial.random.choice((-1, 1)) for _ in range(width)], dtype=np.float16)

    def turned(event: Event) -> Event:
        payload = event.payload
        if not isinstance(payload, DocumentEmbedded) or len(payload.vector) != 2 * width:
            return event
        vector = np.frombuffer(payload.vector, dtype="<f2")[order] * signs
        moved = msgspec.structs.replace(payload, vector=vector.astype("<f2").tobytes())
        return msgspec.structs.replace(event, payload=moved)

    plain = trial.told(trial.events).module.section()
    return difference(plain, trial.told([turned(e) for e in trial.events]).module.section(), TOLERANCE)


RELATIONS: dict[str, Relation] = {
    relation.__name__: relation
    for relation in (
        snapshot_roundtrip,
        checkpoint_anywhere,
        replay_equals_living,
        duplicate_delivery,
        event_order,
        batch_borders,
        clock_shift,
        interim_passes,
        decide_reads_only,
        conclude_idempotent,
        scan_repeatable,
        invariants_hold,
        section_is_content,
        vector_rotation,
    )
}


def shuffled(events: Sequence[Event], source: random.Random) -> list[Event]:
    """Return a random linear extension of the dependence order: same subject or cause keeps its order."""
    by_id = {e.id: i for i, e in enumerate(events)}
    waits: list[int] = [0] * len(events)
    after: list[list[int]] = [[] for _ in events]
    last: dict[str, int] = {}
    for i, event in enumerate(events):
        needed = {by_id[c] for c in event.causes if by_id.get(c, i) < i}
        subject = event.key or subject_of(event)
        if subject in last:
            needed.add(last[subject])
        last[subject] = i
        waits[i] = len(needed)
        for n in needed:
            after[n].append(i)
    ready = [i for i, n in enumerate(waits) if not n]
    out = []
    while ready:
        at = source.randrange(len(ready))
        ready[at], ready[-1] = ready[-1], ready[at]
        i = ready.pop()
        out.append(events[i])
        for n in after[i]:
            waits[n] -= 1
            if not waits[n]:
                ready.append(n)
    return out


def subject_of(event: Event) -> str:
    """Return what an event without a key is about: its payload's first field, else its type."""
    first = next(iter(msgspec.structs.astuple(event.payload)), "")
    return first if isinstance(first, str) else event.type


def difference(one: Any, other: Any, tolerance: float = 0.0, path: str = "section") -> str:
    """Return where two plain JSON values first differ, or an empty string."""
    if isinstance(one, dict) and isinstance(other, dict):
        odd = sorted(set(one) ^ set(other))
        if odd:
            return f"{path} has {odd[0]!r} on one side only"
        parts = ((one[k], other[k], f"{path}[{k!r}]") for k in sorted(one))
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            return f"{path} has {len(one)} entries or {len(other)}"
        parts = ((a, b, f"{path}[{i}]") for i, (a, b) in enumerate(zip(one, other, strict=True)))
    elif isinstance(one, float) and isinstance(other, float) and tolerance:
        close = abs(one - other) <= tolerance * max(abs(one), abs(other), 1e-12)
        return "" if close else f"{path} is {one!r} or {other!r}"
    else:
        return "" if one == other else f"{path} is {str(one)[:80]!r} or {str(other)[:80]!r}"
    return next((found for a, b, p in parts if (found := difference(a, b, tolerance, p))), "")


def _frozen(section: Any) -> str:
    return json.dumps(section, sort_keys=True, default=repr)


def _names(facts: Sequence[Any]) -> str:
    kinds = [f.type if isinstance(f, Event) else type(f).__name__ for f in facts]
    return ", ".join(f"{kinds.count(k)} {k}" for k in dict.fromkeys(kinds))
