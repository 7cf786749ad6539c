"""``tori checkpoint [list | verify | diff | fetch]``, ``tori restore``, ``tori rewind``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from tori.checkpoint.codec import SnapshotDamaged
from tori.checkpoint.compare import Change, compare
from tori.checkpoint.lineage import REWINDS
from tori.checkpoint.remote import UrlStore
from tori.checkpoint.rewind import moment_of, row_of
from tori.checkpoint.store import FOLDER, CheckpointStore
from tori.cli.session import (
    AddressOption,
    HomeOption,
    JsonOption,
    backend,
    connected,
    err,
    out,
    print_json,
    settings_of,
)
from tori.client import home_of
from tori.clock import SystemClock
from tori.errors import BadInput
from tori.events.cloudevents import format_time

if TYPE_CHECKING:
    from tori.settings import Settings

checkpoint_app = typer.Typer(
    help="Take a checkpoint of every module now; list, verify and compare those that are kept.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@checkpoint_app.callback()
def checkpoint(
    context: typer.Context,
    show: Annotated[bool, typer.Option("--list", help="List the kept checkpoints: the same as `list`.")] = False,
    home: HomeOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a checkpoint of every module now; list, verify and compare those that are kept."""
    if context.invoked_subcommand is not None:
        context.obj = home
        return
    if show:
        _list(home, address, as_json)
        return
    with connected(home, address) as client:
        found = client.checkpoint()
    if as_json:
        print_json(found)
        return
    out.print(f"Checkpoint {found['checkpoint_id']}, {found['size_bytes']:,} bytes.")
    for name, why in found.get("missing", {}).items():
        err.print(f"[yellow]without {escape(name)}[/]: {escape(why)}")
    copy = found.get("copy", {})
    if copy:
        problem = f": {copy['problem']}" if copy.get("problem") else "."
        (err if problem != "." else out).print(f"Its copy at {escape(copy['url'])}: {copy['state']}{escape(problem)}")


@checkpoint_app.command("list")
def list_checkpoints(
    context: typer.Context, home: HomeOption = None, address: AddressOption = None, as_json: JsonOption = False
) -> None:
    """List the kept checkpoints, newest first."""
    _list(home or context.obj, address, as_json)


def _list(home: Path | None, address: str | None, as_json: bool) -> None:
    with connected(home, address) as client:
        found = client.checkpoints()
    if as_json:
        print_json({"checkpoints": found})
        return
    for one in found:
        when = "" if "created_ns" not in one else f"{format_time(one['created_ns'])[:19]}  "
        what = escape(one.get("damaged") or ", ".join(one["modules"]))
        out.print(f"{one['checkpoint_id']}  {when}{one['size_bytes']:>12,} bytes  {what}")


def _store(home: Path | None) -> CheckpointStore:
    """Return the checkpoints in a home on this machine; nothing needs to run."""
    return CheckpointStore(home_of(settings_of(home)) / FOLDER)


def _remote(home: Path | None) -> UrlStore:
    """Return the copies at ``checkpoint.url``; raises BadInput when the settings name none."""
    url = settings_of(home).checkpoint.url
    if not url:
        raise BadInput(
            "checkpoint.url is empty: there are no copies.",
            remedy="Set it in tori.toml of the home; docs/settings.md says how.",
        )
    return UrlStore(url)


@checkpoint_app.command()
def verify(
    context: typer.Context,
    checkpoint_id: Annotated[str | None, typer.Argument(help="A checkpoint; all of them when left out.")] = None,
    at_url: Annotated[
        bool, typer.Option("--url", help="The copies at checkpoint.url; nothing is moved there.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read every byte of the kept checkpoints of a home on this machine. What is corrupt is named and put into quarantine."""
    store = _remote(home or context.obj) if at_url else _store(home or context.obj)
    rows: list[dict[str, Any]] = []
    with store.reached() if isinstance(store, UrlStore) else contextlib.nullcontext():
        for one in (checkpoint_id,) if checkpoint_id else store.list():
            problems = store.verify(one, is_quarantining=True)
            rows.append({"checkpoint_id": one, "problems": [msgspec.to_builtins(p) for p in problems]})
    damaged = [row for row in rows if row["problems"]]
    if as_json:
        print_json({"checkpoints": rows, "damaged": len(damaged)})
    else:
        for row in rows:
            out.print(f"{row['checkpoint_id']}  {'damaged' if row['problems'] else 'good'}")
            for problem in row["problems"]:
                what = problem["module"] or "the manifest"
                out.print(f"  {escape(what)}: {escape(problem['reason'])} Now: {escape(problem['path'])}")
        out.print(f"{len(rows)} verified, {len(damaged)} damaged.")
    if damaged:
        raise typer.Exit(SnapshotDamaged.exit_code)


@checkpoint_app.command()
def fetch(
    context: typer.Context,
    checkpoint_id: Annotated[str, typer.Argument(help="A checkpoint at checkpoint.url.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring a checkpoint from checkpoint.url back to the disk, every byte verified; `tori restore` and `tori rewind` find it there."""
    manifest = _remote(home or context.obj).fetch(_store(home or context.obj), checkpoint_id)
    if as_json:
        print_json(
            {"checkpoint_id": checkpoint_id, "modules": sorted(manifest.modules), "size_bytes": manifest.size_bytes}
        )
    else:
        out.print(f"Fetched {escape(checkpoint_id)}, {manifest.size_bytes:,} bytes.")


@checkpoint_app.command()
def diff(
    context: typer.Context,
    before: Annotated[str, typer.Argument(help="A checkpoint, as `tori checkpoint list` prints it.")],
    after: Annotated[str, typer.Argument(help="Another one.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what changed between two checkpoints of a home on this machine, module by module."""
    settings = settings_of(home or context.obj)
    store = CheckpointStore(home_of(settings) / FOLDER)
    manifests = store.manifest(before), store.manifest(after)
    changes = compare(store, *manifests, settings.plain())
    if as_json:
        print_json({"before": before, "after": after, "modules": [msgspec.to_builtins(c) for c in changes]})
        return
    table = Table("module", "changed", "bytes", "entries", "what it holds", box=None, pad_edge=False)
    for change in changes:
        table.add_row(*_cells(change))
    out.print(table)


def _cells(change: Change) -> list[str]:
    before, after = change.before, change.after
    if before is None or after is None:
        return [change.module, "only in the " + ("second" if before is None else "first"), "", "", ""]
    counts = ", ".join(f"{key} {pair[0]} → {pair[1]}" for key, pair in change.counts.items())
    return [
        change.module,
        "yes" if change.is_changed else "no",
        f"{before.size_bytes:,} → {after.size_bytes:,}",
        f"{before.sequence:,} → {after.sequence:,}",
        escape(before.problem or after.problem or counts),
    ]


def restore(
    checkpoint_id: Annotated[
        str | None, typer.Argument(help="A checkpoint; the newest good one when left out.")
    ] = None,
    home: HomeOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restart every module from a checkpoint and the journal that follows it."""
    with connected(home, address) as client:
        found = client.restore(checkpoint_id)
    if as_json:
        print_json(found)
    else:
        for one, why in found.get("passed_over", {}).items():
            err.print(f"[yellow]passed over[/] {escape(one)}: {escape(why)}")
        out.print(f"Restored {escape(found['checkpoint_id'])}: {', '.join(found['modules'])}. Digest {found['digest']}")


def rewind_to(
    moment: Annotated[str, typer.Argument(help="An ISO time, an age (-2h, 15m, 7d), or the id of a checkpoint.")],
    settle: Annotated[
        bool,
        typer.Option(
            "--settle",
            help="Let the copy take all it was given by then, and run one full pass: its digest is canonical.",
        ),
    ] = False,
    in_place: Annotated[
        bool,
        typer.Option(
            "--in-place", help="Go on from there instead: stops the mind, rewinds it, starts it again if it ran."
        ),
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Open a read-only copy of the mind as it was at a moment; the running one is not touched, and need not run.

    The copy is a home of its own: ask it with --home (ask, map, report, digest, why, tail, ...), remove it by removing the folder.
    In place nothing is erased either: the journals of before are kept, whole, and the answer says where.
    """
    settings = settings_of(home)
    if in_place:
        if settle:
            raise BadInput("--settle is for a copy.", remedy="Leave it out, and run tori quiesce afterwards.")
        _rewind_in_place(settings, moment, as_json)
        return
    from tori.local.rewound import rewind

    found = rewind(home_of(settings), moment, settings.plain(), is_settled=settle)
    if as_json:
        print_json(found)
        return
    out.print(f"The mind as of {format_time(found['time_ns'])} lies in [bold]{escape(found['home'])}[/].")
    if found["mirrored"]:
        out.print(f"Of {', '.join(found['mirrored'])} on other nodes it holds what their mirrors here had by then.")
    out.print(f"Digest {found['digest']}{' after a full pass' if found['settled'] else ''}.")
    out.print(f"Next: tori ask QUESTION --home {escape(found['home'])}")


def _rewind_in_place(settings: Settings, text: str, as_json: bool) -> None:
    from tori.checkpoint.swap import PAST, rewind_in_place

    place = home_of(settings)
    now_ns = SystemClock().wall_ns()
    moment = moment_of(text, CheckpointStore(place / FOLDER), now_ns)
    was_running = backend().place(settings, None) is not None
    if was_running:
        backend().down(settings, None)
    try:
        rewound = rewind_in_place(place, moment, now_ns)
    finally:
        if was_running:
            backend().up(settings, None)
    past = place / REWINDS / rewound.rewind_id / PAST
    if as_json:
        print_json(row_of(place, rewound) | {"past": str(past), "restarted": was_running})
        return
    out.print(f"The mind in [bold]{escape(str(place))}[/] stands where it stood at {format_time(moment.time_ns)}.")
    out.print(f"What came after is kept in {escape(str(past))}.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(checkpoint_app, name="checkpoint")
    app.command()(restore)
    app.command("rewind", context_settings={"ignore_unknown_options": True})(rewind_to)
