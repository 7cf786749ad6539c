"""``tori journal list | scrub``: the journals of this machine's home, read in place; nothing has to run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from tori.cli.session import HomeOption, JsonOption, out, print_json, settings_of
from tori.errors import BadInput
from tori.journal.ownership import journals_in
from tori.journal.reader import JournalReader
from tori.journal.retention import survey
from tori.journal.scrub import Damage, Scrub, write_note

EXIT_DAMAGED = 74

journal_app = typer.Typer(help="Look at the journals on this disk.", no_args_is_help=True, rich_markup_mode=None)
NameOption = Annotated[str | None, typer.Option("--name", help="One journal only.", show_default=False)]


def _directories(home: Path, name: str | None) -> Iterator[Path]:
    folder = home / "journals"
    found = journals_in(folder)
    chosen = [p for p in found if name in (None, p.name)]
    if not chosen and name is not None:
        names = ", ".join(p.name for p in found) or "none"
        raise BadInput(f"there is no journal {name!r} in {folder}.", remedy=f"There are: {names}.")
    yield from chosen


@journal_app.command("list")
def list_journals(home: HomeOption = None, name: NameOption = None, as_json: JsonOption = False) -> None:
    """Show each journal with its segments and how far it is."""
    rows = [_row(directory) for directory in _directories(settings_of(home).home, name)]
    if as_json:
        print_json({"journals": rows})
        return
    table = Table("journal", "epoch", "entries", "durable bytes", "segments", "on disk", box=None, pad_edge=False)
    for row in rows:
        counts = (row["epoch"], row["entries"], row["durable_offset"], len(row["segments"]), row["size_bytes"])
        table.add_row(escape(row["name"]), *(f"{count:,}" for count in counts))
    out.print(table)


def _row(directory: Path) -> dict[str, Any]:
    reader = JournalReader(directory)
    try:
        segments = survey(directory)
        return {
            "name": directory.name,
            "epoch": max(reader.epoch, 0),
            "entries": reader.sequence(),
            "first_offset": reader.first_offset(),
            "durable_offset": reader.limit(),
            "size_bytes": sum(s.size_bytes for s in segments),
            "segments": [{"file": s.name.file_name, "begin": s.name.base, "end": s.end} for s in segments],
        }
    finally:
        reader.close()


@journal_app.command("scrub")
def scrub(home: HomeOption = None, name: NameOption = None, as_json: JsonOption = False) -> None:
    """Read everything that was promised and check it; exits 74 when something is damaged, and leaves a note beside it."""
    damages: list[Damage] = []
    journals = frames = size = 0
    for directory in _directories(settings_of(home).home, name):
        walk = Scrub(directory)
        try:
            found = walk.run_whole()
        finally:
            walk.close()
        if found:
            write_note(directory, found, time.time_ns())
        damages += found
        journals, frames, size = journals + 1, frames + walk.frames, size + walk.checked_bytes
    if as_json:
        print_json({"journals": journals, "frames": frames, "bytes": size, "damages": msgspec.to_builtins(damages)})
    else:
        out.print(f"{journals} journals, {frames:,} frames, {size:,} bytes: {len(damages)} damaged places.")
        for one in damages:
            lost = f"{one.entries} entries from {one.first_sequence} on" if one.entries >= 0 else "unknown entries"
            out.print(f"  {escape(one.journal)}/{one.segment} offset {one.offset}..{one.end}: {one.reason}; {lost}")
    if damages:
        raise typer.Exit(EXIT_DAMAGED)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(journal_app, name="journal")
