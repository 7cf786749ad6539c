"""What every machine of the orchestrator shares: stimulus in, instructions out, transitions by table, bounded stories.

    handle(stimulus) ──▶ list[Instruction]      synchronous, no threads, no waiting; the clock is injected
    wake_ns          ──▶ when ``Tick()`` is next needed (monotonic), None = never
    snapshot / restore / validate / story(id)

A shell executes instructions in the order of the list. It holds no ``if`` about the domain.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from tori.errors import BadInput, IllegalTransition
from tori.events.payloads import Payload


class Tick(msgspec.Struct, frozen=True):
    """Stimulus: time passed. Do what is due; harmless when nothing is."""


class Emit(msgspec.Struct, frozen=True):
    """Instruction: write one event, durably, before the instructions that follow it."""

    payload: Payload
    key: str = ""


class Edge(NamedTuple):
    """One legal transition."""

    old: str
    new: str
    when: str
    """When the edge is taken, for people."""


class TransitionTable:
    """The legal edges of one machine. What is not in it raises, with the story."""

    def __init__(self, name: str, edges: Iterable[Edge]) -> None:
        self.name = name
        self.edges = tuple(edges)
        self._when = {(edge.old, edge.new): edge.when for edge in self.edges}
        if len(self._when) != len(self.edges):
            raise BadInput(f"the transition table of {name} names an edge twice.")

    def allows(self, old: str, new: str) -> bool:
        return (old, new) in self._when

    def check(self, subject: str, old: str, new: str, stories: Stories) -> None:
        """Raise IllegalTransition unless ``old -> new`` is an edge."""
        if (old, new) in self._when:
            return
        exits = ", ".join(sorted(edge.new for edge in self.edges if edge.old == old)) or "nothing"
        raise IllegalTransition(
            f"{self.name} {subject} cannot go from {old} to {new}.",
            remedy=f"From {old} it can go to: {exits}.",
            subject=subject,
            old=str(old),
            new=str(new),
            story=stories.text(subject),
        )

    def markdown(self) -> str:
        """Return the table for the documentation."""
        lines = ["| from | to | when |", "|---|---|---|"]
        return "\n".join(lines + [f"| {edge.old} | {edge.new} | {edge.when} |" for edge in self.edges])


class StoryLine(msgspec.Struct, frozen=True, array_like=True):
    """One step in the life of one id."""

    time_ns: int
    """Wall clock."""
    text: str


class Stories:
    """The last steps of the last ids: ``max_lines`` an id, ``max_ids`` ids; the id told of longest ago is dropped first."""

    def __init__(self, max_ids: int = 1024, max_lines: int = 64) -> None:
        self._lines: OrderedDict[str, deque[StoryLine]] = OrderedDict()
        self._max_ids = max_ids
        self._max_lines = max_lines

    def tell(self, subject: str, time_ns: int, text: str) -> None:
        """Add a line to the story of ``subject``."""
        lines = self._lines.setdefault(subject, deque(maxlen=self._max_lines))
        lines.append(StoryLine(time_ns, text))
        self._lines.move_to_end(subject)
        while len(self._lines) > self._max_ids:
            self._lines.popitem(last=False)

    def forget(self, subject: str) -> None:
        """Drop the story of ``subject``; an unknown one is fine."""
        self._lines.pop(subject, None)

    def of(self, subject: str) -> tuple[StoryLine, ...]:
        """Return the story of ``subject``, oldest line first; empty when it is unknown or too old."""
        return tuple(self._lines.get(subject, ()))

    def text(self, subject: str) -> str:
        """Return the story as one text, a line a step."""
        return "\n".join(line.text for line in self.of(subject))

    def snapshot(self) -> list[tuple[str, list[StoryLine]]]:
        return [(subject, list(lines)) for subject, lines in self._lines.items()]

    def restore(self, data: Sequence[tuple[str, Sequence[StoryLine]]]) -> None:
        self._lines = OrderedDict((subject, deque(lines, self._max_lines)) for subject, lines in data)
