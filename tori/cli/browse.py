"""``tori events`` and ``tori dlq list | show | redrive | purge``: one filter grammar, docs/filters.md."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from tori.cli.session import AddressOption, HomeOption, JsonOption, connected, out, positive, print_json
from tori.client import SystemClient
from tori.errors import BadInput
from tori.events.filter import EVENT_FIELDS, LETTER_FIELDS, Filter, terms_of

MAX_LETTERS = 10_000

dlq_app = typer.Typer(
    help="Look at dead letters, deliver them again, give them up.", no_args_is_help=True, rich_markup_mode=None
)

FilterOption = Annotated[str, typer.Option("--filter", help="Terms such as 'type=Concept* time>=2h'; docs/filters.md.")]
TypeOption = Annotated[str | None, typer.Option("--type", help="Event type, a glob.")]
SourceOption = Annotated[str | None, typer.Option("--source", help="Journal that holds the event, a glob.")]
KeyOption = Annotated[str | None, typer.Option("--key", help="Ordering key, a glob.")]
SinceOption = Annotated[str | None, typer.Option("--since", help="ISO time, or an age: 15m, 2h, 7d.")]
UntilOption = Annotated[str | None, typer.Option("--until", help="ISO time, or an age.")]
LimitOption = Annotated[int, typer.Option("--limit", help="How many at most.")]
ModuleOption = Annotated[str | None, typer.Option("--module", help="Module that could not take the event, a glob.")]
ErrorOption = Annotated[str | None, typer.Option("--error", help="Part of the error's type or message.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
RateOption = Annotated[float, typer.Option("--rate", help="Deliveries a second and module; 0 = at once.")]
IdsArgument = Annotated[
    list[str] | None, typer.Argument(help="Ids of dead letters; or choose by filter.", show_default=False)
]
AllOption = Annotated[bool, typer.Option("--all", help="Every dead letter there is.")]


def events(
    text: FilterOption = "",
    type_: TypeOption = None,
    source: SourceOption = None,
    key: KeyOption = None,
    correlation: Annotated[
        str | None, typer.Option("--correlation", help="Id of the event a story began with.")
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: LimitOption = 100,
    home: HomeOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Browse the events of all journals, the newest that fit."""
    options = {"type": type_, "source": source, "key": key, "correlation": correlation}
    line = _line(text, options, since, until, EVENT_FIELDS)
    with connected(home, address) as client:
        found = client.events(line, positive("--limit", limit))
    if as_json:
        print_json({"filter": line, **found})
        return
    for row in found["events"]:
        fields = ", ".join(f"{k}={v}" for k, v in row["payload"].items() if v not in ("", None, [], {}))
        out.print(
            f"[dim]{row['time'][:23]}[/] [bold]{row['type']:20}[/] {row['source']:12} {escape(' '.join(fields.split())[:140])}"
        )
    if not found["is_complete"]:
        out.print(f"Stopped after {found['browsed']:,} events: narrow it with --since, --type or --source.")


def _line(
    text: str, options: dict[str, str | None], since: str | None, until: str | None, fields: tuple[str, ...]
) -> str:
    """Return one filter of a line and options; raises BadInput before anybody is asked."""
    line = " ".join(filter(None, (text.strip(), terms_of(options, since=since, until=until))))
    Filter.parse(line, fields)
    return line


@dlq_app.command("list")
def dlq_list(
    text: FilterOption = "",
    module: ModuleOption = None,
    type_: TypeOption = None,
    source: SourceOption = None,
    key: KeyOption = None,
    error: ErrorOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: LimitOption = 50,
    home: HomeOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """List dead letters of all modules, newest first."""
    options = {"module": module, "type": type_, "source": source, "key": key, "error": error}
    line = _line(text, options, since, until, LETTER_FIELDS)
    with connected(home, address) as client:
        found = client.dead_letters(line, positive("--limit", limit))
    if as_json:
        print_json({"filter": line, **found})
        return
    if not found["letters"]:
        out.print("No dead letters." if not line else "No dead letters fit.")
        return
    table = Table("id", "time", "state", "module", "type", "key", "attempts", "error", box=None, pad_edge=False)
    for row in found["letters"]:
        error_line = escape(f"{row['error_type']}: {row['error']}"[:80])
        cells = (row["id"], row["time"][:19], row["state"], row["module"], row["type"], escape(row["key"][:32]))
        table.add_row(*cells, str(row["attempts"]), error_line)
    out.print(table)
    out.print(", ".join(f"{count:,} {state}" for state, count in sorted(found["states"].items())))


@dlq_app.command("show")
def dlq_show(
    letter: Annotated[str, typer.Argument(help="Id of a dead letter, or of its event.")],
    home: HomeOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one dead letter: its event, its attempts, where the handler stood."""
    with connected(home, address) as client:
        row = _find(client, letter)
        chain = client.why(row["event_id"])
    if as_json:
        print_json({"letter": row, "event": chain[0]})
        return
    for name in ("id", "state", "time", "module", "source", "sequence", "type", "key", "attempts"):
        out.print(f"[dim]{name:10}[/] {escape(str(row[name]))}")
    out.print(f"[bold red]{escape(row['error_type'])}[/] {escape(row['error'])}")
    for text in row["story"]:
        out.print(f"  {escape(text)}")
    out.print(f"[dim]tori why {row['event_id']}[/]")


def _find(client: SystemClient, letter: str) -> dict[str, Any]:
    name = letter.strip().lower()
    if len(name) != 32 or any(c not in "0123456789abcdef" for c in name):
        raise BadInput(f"{letter!r} is not the id of a dead letter.", remedy="It has 32 hex digits; tori dlq list.")
    for field in ("id", "event"):
        found = client.dead_letters(f"{field}={name}", 1)["letters"]
        if found:
            row: dict[str, Any] = found[0]
            return row
    raise BadInput(f"there is no dead letter {name}.", remedy="tori dlq list shows them.")


@dlq_app.command("redrive")
def dlq_redrive(
    ids: IdsArgument = None,
    text: FilterOption = "",
    module: ModuleOption = None,
    type_: TypeOption = None,
    key: KeyOption = None,
    error: ErrorOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    everything: AllOption = False,
    dry_run: DryRunOption = False,
    rate: RateOption = 0.0,
    home: HomeOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Deliver dead letters again, each as a new delivery; the cause should be mended first."""
    if rate < 0:
        raise BadInput(f"--rate is {rate}.", remedy="Give deliveries a second, or leave it out.")
    options = {"module": module, "type": type_, "key": key, "error": error}
    line = _line(text, options, since, until, LETTER_FIELDS)
    with connected(home, address) as client:
        chosen = _choose(client, ids or [], line, everything=everything)
        done = _command(client, "redrive", chosen, {"dry_run": dry_run, "rate_per_s": rate})
    _report(done, "redriven", dry_run=dry_run, as_json=as_json)


@dlq_app.command("purge")
def dlq_purge(
    ids: IdsArgument = None,
    text: FilterOption = "",
    module: ModuleOption = None,
    type_: TypeOption = None,
    key: KeyOption = None,
    error: ErrorOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    everything: AllOption = False,
    dry_run: DryRunOption = False,
    home: HomeOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give dead letters up: they can no longer be redriven. The events stay in their journals."""
    options = {"module": module, "type": type_, "key": key, "error": error}
    line = _line(text, options, since, until, LETTER_FIELDS)
    with connected(home, address) as client:
        chosen = _choose(client, ids or [], line, everything=everything)
        done = _command(client, "purge", chosen, {"dry_run": dry_run})
    _report(done, "purged", dry_run=dry_run, as_json=as_json)


def _choose(client: SystemClient, ids: list[str], line: str, *, everything: bool) -> dict[str, list[str]]:
    """Return the chosen letters that are still dead, by module; raises BadInput when nothing was chosen or one is unknown."""
    if bool(ids) + bool(line) + everything != 1:
        raise BadInput("choose dead letters by id, by a filter, or --all.", remedy="tori dlq list shows them.")
    rows = [_find(client, one) for one in ids]
    if not ids:
        rows = client.dead_letters(f"{line} state=dead".strip(), MAX_LETTERS)["letters"]
    chosen: dict[str, list[str]] = {}
    for row in reversed(rows):  # oldest first: as they were meant to come
        if row["state"] != "dead":
            raise BadInput(
                f"the dead letter {row['id']} is {row['state']} already.", remedy="tori dlq show tells more."
            )
        chosen.setdefault(row["module"], []).append(row["id"])
    return chosen


def _command(
    client: SystemClient, name: str, chosen: dict[str, list[str]], arguments: dict[str, Any]
) -> dict[str, Any]:
    done: dict[str, Any] = {}
    for module, letters in sorted(chosen.items()):
        done[module] = client.command(module, name, {"ids": letters, **arguments})
    return done


def _report(done: dict[str, Any], word: str, *, dry_run: bool, as_json: bool) -> None:
    count = sum(len(answer["letters"]) for answer in done.values())
    if as_json:
        print_json({word: count, "dry_run": dry_run, "modules": done})
        return
    verb = f"would be {word}" if dry_run else f"{word}"
    out.print(f"{count:,} dead letters {verb}." if count else "No dead letters were chosen.")
    for module, answer in sorted(done.items()):
        out.print(f"  {module:12} {len(answer['letters']):,}")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(events)
    app.add_typer(dlq_app, name="dlq")
