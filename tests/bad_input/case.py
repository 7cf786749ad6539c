"""One row of the table: what is given at which door, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tests.bad_input.bench import Bench

UNCHANGED = "unchanged"
AFTER_REMEDY = "unchanged after the remedy"


class Outcome(NamedTuple):
    """What the door said, and how it ended."""

    said: str
    exit_code: int


@dataclass(frozen=True)
class Case:
    """``says`` are parts of one message: the cause first, the remedy last; none where the input is taken as it is."""

    door: str
    given: str
    says: tuple[str, ...]
    exit_code: int
    digest: str
    run: Callable[[Bench], Outcome]
    needs: str = ""
    """``cluster``: a running system shared with the others; ``root``: what only root can arrange."""

    @property
    def name(self) -> str:
        return f"{self.door}: {self.given}"


class Door:
    """Collects the cases of one door, in the order of the file; ``meaning`` says what the door is."""

    def __init__(self, name: str, meaning: str | None) -> None:
        self.name = name
        self.meaning = " ".join((meaning or "").split())
        self.cases: list[Case] = []

    def case(
        self, given: str, *says: str, exit_code: int = 65, digest: str = UNCHANGED, needs: str = ""
    ) -> Callable[[Callable[[Bench], Outcome]], Callable[[Bench], Outcome]]:
        """Register what runs a case."""

        def register(run: Callable[[Bench], Outcome]) -> Callable[[Bench], Outcome]:
            self.cases.append(Case(self.name, given, says, exit_code, digest, run, needs))
            return run

        return register

    def add(
        self, given: str, run: Callable[[Bench], Outcome], *says: str, exit_code: int = 65, digest: str = UNCHANGED
    ) -> None:
        """Register one of many cases that differ in a value only."""
        self.cases.append(Case(self.name, given, says, exit_code, digest, run))
