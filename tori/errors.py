"""The two branches of errors, temporary and permanent, under one root.

Every error carries its fields (it survives pickling between Ray processes) and names the remedy:
``str(error)`` is a sentence a person can act on.
"""

from __future__ import annotations

from typing import Any


class ToriError(Exception):
    """Root of every error TORI raises on purpose.

    ``exit_code`` is what the command line exits with when the error reaches a person; the table is in
    ``docs/exit-codes.md``.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "", **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.fields = fields

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".rstrip()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.remedy, self.fields)


def _rebuild(cls: type[ToriError], message: str, remedy: str, fields: dict[str, Any]) -> ToriError:
    return cls(message, remedy=remedy, **fields)


class TemporaryError(ToriError):
    """Trying again later may succeed; nothing was half done."""

    exit_code = 75


class Backpressure(TemporaryError):
    """A door has no credit: a follower is too far behind. Fields: module, lag, limit, retry_s."""


class PermanentError(ToriError):
    """Trying again with the same input fails the same way."""


class BadInput(PermanentError):
    """What came in breaks a rule; the message names the field."""

    exit_code = 65


class BadSettings(PermanentError):
    """A setting is unknown, mistyped or out of range."""

    exit_code = 78


class NotRunning(TemporaryError):
    """No TORI system answers at the address."""

    exit_code = 69


class Unavailable(TemporaryError):
    """A part of the system is down or still starting."""


class NodeAway(Unavailable):
    """A module is offline, because the node with its journal is away; waiting a moment does not bring it back."""


class NoRoom(Unavailable):
    """A part of the system waits for room on its disk; it goes on by itself, and waiting a moment does not make room."""


class JournalError(PermanentError):
    """A journal cannot be read or written as asked."""

    exit_code = 74


class JournalDamaged(JournalError):
    """Bytes below the durable position fail their checksum."""


class JournalTruncated(JournalError):
    """A cursor points past the end of its journal."""


class JournalMissing(JournalError):
    """A journal that was recorded is not where it was."""


class JournalFenced(JournalError):
    """A newer epoch owns the journal; this writer may neither publish nor ack."""


class JournalRefused(TemporaryError):
    """The disk refused a commit unit: nothing of it was accepted, everything before it stands, and trying again may succeed."""


class JournalUnsynced(TemporaryError):
    """What was written is not on the disk yet, and not lost: commit again, do not append again."""


class IllegalTransition(PermanentError):
    """A machine was asked for an edge its table does not have; carries the story."""

    exit_code = 70
