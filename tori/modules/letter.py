"""What a person may do with a module's dead letters: look, deliver again, give up. Requests to the host, not to the module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tori.bus.dead_letter import DeadLetter, Purged, Redriven, chosen, letter_row, match_row
from tori.clock import SECOND_NS
from tori.errors import BadInput
from tori.events.filter import LETTER_FIELDS, Filter
from tori.ids import ID_BYTES

if TYPE_CHECKING:
    from tori.modules.host import ModuleHost

COMMANDS = ("redrive", "purge")
QUERY = "dead_letters"
MAX_ROWS = 10_000
MAX_RATE_PER_S = 1e6


def query_letters(host: ModuleHost, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """``dead_letters`` {filter, limit}: the newest that fit, and how many the book holds and has let go."""
    found = _matching(host, str(arguments.get("filter", "")))
    limit = min(int(arguments.get("limit", 100)), MAX_ROWS)
    book = host.courier.book
    return {
        "letters": [letter_row(letter) for letter in found[-limit:]] if limit > 0 else [],
        "matched": len(found),
        "kept": len(book),
        "forgotten": book.forgotten,
        "held": len(host.courier.pending),
    }


def command_letters(host: ModuleHost, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """``redrive`` or ``purge`` {ids | filter, limit, dry_run, rate_per_s}: what was done, or would be.

    A redrive is a new delivery of each letter's event, ``rate_per_s`` of them a second. Safe to repeat: a letter that is no longer
    in the book is reported as unknown and nothing happens to it.
    """
    letters, unknown = _choose(host, arguments)
    ids = [letter.id.hex() for letter in letters]
    answer = {"letters": ids, "unknown": [one.hex() for one in unknown], "dry_run": bool(arguments.get("dry_run"))}
    if arguments.get("dry_run"):
        return answer
    now_ns = host.now_ns()
    if name == "purge":
        host.record([Purged(letter.id, now_ns) for letter in letters])
    else:
        rate = _rate(arguments)
        host.record([Redriven(letter.id, letter.entry, now_ns) for letter in letters])
        if rate:
            host.courier.space_out([letter.entry for letter in letters], round(SECOND_NS / rate))
    return answer


def _choose(host: ModuleHost, arguments: Mapping[str, Any]) -> tuple[list[DeadLetter], list[bytes]]:
    ids, text = arguments.get("ids"), arguments.get("filter")
    if (ids is None) == (text is None):
        raise BadInput("give either ids or a filter.", remedy="A filter of no terms means all of them.")
    if ids is not None:
        return chosen(host.courier.book, [_id(one) for one in ids])
    found = _matching(host, str(text))
    limit = int(arguments.get("limit") or MAX_ROWS)
    return list(found[:limit]), []


def _matching(host: ModuleHost, text: str) -> Sequence[DeadLetter]:
    wanted = Filter.parse(text, LETTER_FIELDS, now_ns=host.now_ns())
    return [letter for letter in host.courier.book.letters() if wanted.fits(match_row(letter))]


def _rate(arguments: Mapping[str, Any]) -> float:
    rate = float(arguments.get("rate_per_s") or 0.0)
    if not 0 <= rate <= MAX_RATE_PER_S:
        raise BadInput(f"rate_per_s is {rate}.", remedy="Give redrives a second above 0, or leave it out.")
    return rate


def _id(text: Any) -> bytes:
    try:
        found = bytes.fromhex(str(text))
    except ValueError:
        found = b""
    if len(found) != ID_BYTES:
        raise BadInput(
            f"{text!r} is not the id of a dead letter.", remedy="It has 32 hex digits, as tori dlq list prints it."
        )
    return found
