"""Where modules live: spread over the nodes at the first start, then pinned to the node of their journal.

The facts stand in the orchestrator's own journal: node, journal id and last durable sequence of every module. A journal that was
recorded and is not there, or is shorter, is missing; it is never replaced by a fresh one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from tori.alerts.outbox import AlertRecord
from tori.errors import JournalMissing
from tori.journal.follower import Readable
from tori.journal.ownership import create_journal, read_identity
from tori.journal.reader import JournalReader
from tori.journal.recovery import recover
from tori.journal.unit import units
from tori.modules.registry import CLIENTS
from tori.orchestrator.berth import Berth
from tori.scheduler.shipped import CodeShipped
from tori.scheduler.signal import SchedulerRecord
from tori.trends.book import TrendsSampled


class JournalPlaced(msgspec.Struct, frozen=True, array_like=True, tag=16):
    """Private record: from now on this module lives on this node, with this journal."""

    module: str
    node: str
    journal_id: bytes


class JournalsReached(msgspec.Struct, frozen=True, array_like=True, tag=17):
    """Private record: every entry below these sequences was on disk; by module."""

    sequences: dict[str, int]


PlacementRecord: TypeAlias = JournalPlaced | JournalsReached
LedgerRecord: TypeAlias = SchedulerRecord | PlacementRecord | CodeShipped | TrendsSampled | AlertRecord


class Berths:
    """The projection of the placement records."""

    def __init__(self) -> None:
        self._berths: dict[str, Berth] = {}

    def apply(self, record: PlacementRecord) -> None:
        """Take one record; sequences never go back, except with another journal."""
        if isinstance(record, JournalPlaced):
            known = self._berths.get(record.module)
            if known is None or (known.node, known.journal_id) != (record.node, record.journal_id):
                self._berths[record.module] = Berth(record.node, record.journal_id)
            return
        for module, sequence in record.sequences.items():
            berth = self._berths.get(module)
            if berth is not None and sequence > berth.sequence:
                self._berths[module] = msgspec.structs.replace(berth, sequence=sequence)

    def all(self) -> dict[str, Berth]:
        """Return every berth by module."""
        return dict(self._berths)


def recorded_berths(directory: Path) -> Berths:
    """Return what the orchestrator's journal in ``directory`` says, before anybody writes it again; nothing when it is new.

    Trusts no stored position: the end is found as recovery finds it.
    """
    return _berths(_records(directory))


def berths_in(ledger: Readable) -> Berths:
    """Return what the orchestrator's journal says up to its durable end, also while somebody writes it."""
    return _berths(_read(ledger, ledger.limit()))


def _berths(records: Iterator[Any]) -> Berths:
    berths = Berths()
    for record in records:
        if isinstance(record, PlacementRecord):
            berths.apply(record)
    return berths


def recorded_code(directory: Path) -> list[CodeShipped]:
    """Return which code was shipped, oldest first, as the orchestrator's journal in ``directory`` says."""
    return [record for record in _records(directory) if isinstance(record, CodeShipped)]


def _records(directory: Path) -> Iterator[Any]:
    try:
        journal_id = read_identity(directory)
    except JournalMissing:
        if any(directory.glob("*.seg")):
            raise
        return
    end = recover(directory, journal_id).offset
    reader = JournalReader(directory)
    try:
        yield from _read(reader, end)
    finally:
        reader.close()


def _read(ledger: Readable, end: int) -> Iterator[Any]:
    decoder = msgspec.msgpack.Decoder(list[LedgerRecord])
    for unit in units(ledger, ledger.first_offset(), end):
        yield from unit.records(decoder)


class PlacementPolicy(ABC):
    """Decides where modules that have no journal yet will live."""

    @abstractmethod
    def decide(self, modules: Sequence[str], nodes: Sequence[str], settled: Mapping[str, str]) -> dict[str, str]:
        """Return the node of each of ``modules``. ``nodes``: the head first. ``settled``: modules that have theirs already."""


class SpreadPolicy(PlacementPolicy):
    """The node with the fewest modules takes the next one; documents come in at the head, so ``clients`` stays there."""

    def decide(self, modules: Sequence[str], nodes: Sequence[str], settled: Mapping[str, str]) -> dict[str, str]:
        load = Counter(dict.fromkeys(nodes, 0))
        load.update(node for node in settled.values() if node in load)
        found: dict[str, str] = {}
        for module in modules:
            node = nodes[0] if module == CLIENTS else min(nodes, key=lambda n: (load[n], nodes.index(n)))
            load[node] += 1
            found[module] = node
        return found


def held_journals(journals: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Return the ids of those of ``names`` whose journals lie in a node's folder."""
    return {name: read_identity(journals / name) for name in names if (journals / name / "journal.json").exists()}


def make_journals(journals: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Make the journals of modules that begin their life on this node; return their ids. What is there stays as it is."""
    return {name: create_journal(journals / name) for name in names}
