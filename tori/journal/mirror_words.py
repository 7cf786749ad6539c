"""What a mirror says of itself: the position words of its epochs, as its followers and its next writer read them.

The word ``BOOT`` of an epoch serves both. To followers it says that the positions are of this run of the machine. To the next
process of the same run it says that ``DURABLE_OFFSET`` is how far the last one had synced: what was written beyond may look whole
and yet not be on the disk, if its sync failed, for the cache does not say so. After a loss of power everything that can be read is on
the disk, and no word is believed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tori.journal import control as words
from tori.journal.control import BOOT, COPY, DURABLE_OFFSET, GENERATION, URGENT_COUNT, URGENT_RING, URGENT_SLOTS
from tori.journal.files import Files
from tori.journal.wake import bell_for


class Reached(NamedTuple):
    """A position to announce."""

    epoch: int
    offset: int
    sequence: int
    generation: int
    """Of the epoch's next new segment."""


class MirrorWords:
    """The position words of one mirror, and the bell of its followers; only who holds its lock has one."""

    def __init__(self, directory: Path, files: Files) -> None:
        self.directory = directory
        self._files = files
        self._boot = files.processes.boot
        self._control: words.Words | None = None
        self._epoch = 0
        self._urgent = 0
        self._epoch_words = words.open_epoch(directory, writable=True, files=files)
        self._bell = bell_for(directory, files)

    def _controls(self, *, writable: bool = False) -> Iterator[tuple[int, words.Words]]:
        for epoch in sorted(words.control_epochs(self.directory, self._files)):
            with contextlib.suppress(ValueError):  # too short to say anything
                control = words.open_control(self.directory, epoch, create=writable, files=self._files)
                try:
                    yield epoch, control
                finally:
                    control.close()

    def told(self) -> int | None:
        """Return up to where this run of the machine is known to have synced the mirror; None = everything that can be read.

        An opening ends with a position of this run, or, of a mirror that holds nothing, with no word of an earlier run left; no frame
        is written before. Where neither is so, the openings of this run died: they announced nothing, and what was there is there.
        """
        said = [(int(c.words[BOOT]), int(c.words[DURABLE_OFFSET])) for _, c in self._controls()]
        said = [(boot, offset) for boot, offset in said if boot or offset]
        here = max((offset for boot, offset in said if boot == self._boot), default=0)
        if not here and any(boot != self._boot for boot, _ in said):
            return None
        return here

    def generations(self) -> dict[int, int]:
        """Return the newest generation of each epoch that followers were told of."""
        return {epoch: int(control.words[GENERATION]) for epoch, control in self._controls()}

    def withdraw(self, epoch: int) -> None:
        """Take back what was announced of later epochs: nothing of them is there any more."""
        for later, control in self._controls(writable=True):
            if later > epoch:
                for word in (words.WRITTEN_OFFSET, DURABLE_OFFSET, words.WRITTEN_SEQUENCE, words.DURABLE_SEQUENCE):
                    control.words[word] = 0
                self._stamp(later, control)

    def publish(self, reached: Reached, urgent: Sequence[int]) -> None:
        """Store the position words and ring the followers; an epoch is entered first. Raises OSError with nothing announced."""
        control = self._control
        if control is None or self._epoch != reached.epoch:
            control = self._enter(reached)
        self.announce(urgent)
        self._store(control, reached)
        self._bell.ring()

    def _enter(self, reached: Reached) -> words.Words:
        """Return the words of an epoch that begins here, or goes on after a restart.

        Before its first position is told the disk has the number of the machine's run, and the epoch's: after a power cut readers
        know by them that the positions are only what was once in memory, and up to which epoch they have to look for themselves.
        """
        control = words.open_control(self.directory, reached.epoch, create=True, files=self._files)
        try:
            if control.words[BOOT] not in (0, self._boot):
                self._store(control, reached)  # what an earlier run said is not to be believed, so it goes first
            self._stamp(reached.epoch, control)
            path = self.directory / "epoch"
            words.store_durably(path, self._epoch_words, 0, reached.epoch, self._files)
        except BaseException:
            control.close()
            raise
        if self._control is not None:
            self._control.close()
        self._control, self._epoch = control, reached.epoch
        self._urgent = int(control.words[URGENT_COUNT])
        return control

    def _stamp(self, epoch: int, control: words.Words) -> None:
        control.words[COPY] = 1
        words.stamp_boot(self.directory, epoch, control, self._files)

    @staticmethod
    def _store(control: words.Words, reached: Reached) -> None:
        table = control.words
        table[GENERATION] = reached.generation
        table[words.WRITTEN_SEQUENCE] = table[words.DURABLE_SEQUENCE] = reached.sequence
        table[words.WRITTEN_OFFSET] = table[DURABLE_OFFSET] = reached.offset

    def announce(self, urgent: Sequence[int]) -> None:
        """Put the offsets of urgent frames into the ring; they are read once they lie below the position."""
        if self._control is None:
            return
        table = self._control.words
        for offset in urgent:
            table[URGENT_RING + self._urgent % URGENT_SLOTS] = offset
            self._urgent += 1
            table[URGENT_COUNT] = self._urgent

    def close(self) -> None:
        self._bell.close()
        if self._control is not None:
            self._control.close()
        self._epoch_words.close()
