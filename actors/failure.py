"""What went wrong with a call over Ray, in one line."""

from __future__ import annotations


def cause_of(error: BaseException) -> BaseException:
    """Return what the actor raised, when Ray wrapped it."""
    return getattr(error, "cause", None) or error


def brief_error(error: BaseException) -> str:
    """Return the last line of what the actor raised; its type when it said nothing."""
    cause = cause_of(error)
    lines = [line for line in str(cause).strip().splitlines() if line.strip()]
    return (lines[-1].strip() if lines else type(cause).__name__)[:500]
