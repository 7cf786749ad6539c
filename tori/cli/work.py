"""``tori ingest | quiesce | task | pause | resume | digest``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from tori.cli.progress import feeding
from tori.cli.session import AddressOption, HomeOption, JsonOption, connected, err, out, print_json
from tori.cli.ship import task_ship
from tori.errors import BadInput
from tori.feed import feed
from tori.sources import KINDS, open_source

MOST_LATEST = 30
"""Lines of last runs, one a task."""

task_app = typer.Typer(
    help="List, run, pause and cancel background tasks.", no_args_is_help=True, rich_markup_mode=None
)


def ingest(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder, a .jsonl or .jsonl.gz file, git:PATH for a history, or python:NAME,... for documentation."
        ),
    ],
    wait: Annotated[
        bool, typer.Option("--wait", help="Return only after quiesce: everything read and scanned.")
    ] = False,
    name: Annotated[
        str, typer.Option("--as", help="Put NAME/ before every id: for a folder with files named like another's.")
    ] = "",
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Let files take the place of others with the same id: for files that moved."),
    ] = False,
    home: HomeOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put documents in. The same content counts once, so an interrupted ingest is simply run again."""
    opened = open_source(source, name=name)
    with connected(home, address) as client:
        with feeding(opened, quiet=as_json) as progress:
            report = feed(client, opened, progress, replace=replace)
        settled = client.quiesce() if wait else {}
    for sentence in report.refusals[:20]:
        err.print(f"[yellow]refused[/] {escape(sentence)}")
    if report.refused > 20:
        err.print(f"[yellow]and {report.refused - 20} more refused[/]")
    if not report.documents and not report.refused:
        raise BadInput(
            f"there is nothing to read in {source}.",
            remedy=f"A folder needs files ending in {', '.join(KINDS)}; a .jsonl file one document a line.",
        )
    if not report.documents:
        raise BadInput(
            f"none of the {report.refused} inputs of {source} could be taken.", remedy="The reasons are above."
        )
    if as_json:
        print_json(
            {
                "source": source,
                "documents": report.documents,
                "objects": report.objects,
                "characters": report.characters,
                "accepted": report.accepted,
                "duplicates": report.duplicates,
                "refused": report.refused,
                "refusals": report.refusals,
                "seconds": round(report.seconds, 3),
                "waited_s": round(report.waited_s, 3),
                **settled,
            }
        )
        return
    out.print(
        f"{report.accepted:,} documents taken, {report.duplicates:,} known already, {report.refused:,} refused "
        f"in {report.seconds:.1f} s."
    )
    if not wait:
        out.print("They are being read now: tori status, tori ask; tori quiesce waits for the full pass.")


def quiesce(home: HomeOption = None, address: AddressOption = None, as_json: JsonOption = False) -> None:
    """Wait until everything is read, run one full pass of every scan, and print the digest of the mind."""
    with connected(home, address) as client:
        found = client.quiesce()
    if as_json:
        print_json(found)
    else:
        out.print(f"Settled. Digest {found['digest']}")


def digest(home: HomeOption = None, address: AddressOption = None, as_json: JsonOption = False) -> None:
    """Print the digest of the mind as it is now, and of each section."""
    with connected(home, address) as client:
        found = client.digest()
    if as_json:
        print_json(found)
        return
    out.print(found["digest"])
    for name, value in sorted(found["sections"].items()):
        out.print(f"  {name:12} {value}")


@task_app.command("list")
def task_list(home: HomeOption = None, address: AddressOption = None, as_json: JsonOption = False) -> None:
    """Show every task, when it is due, and its last run (--json: its last few)."""
    with connected(home, address) as client:
        found = client.tasks()
    if as_json:
        print_json(found)
        return
    table = Table("task", "module", "every", "next in", "runs", "skipped", "last", box=None, pad_edge=False)
    held: dict[str, list[str]] = {}
    for task in found["tasks"]:
        table.add_row(
            *(
                _cell(task.get(k))
                for k in ("task_id", "module", "interval_s", "due_in_s", "runs", "skipped", "last_state")
            )
        )
        if task.get("held_by"):
            held.setdefault(task["held_by"], []).append(task["task_id"])
    out.print(table)
    for run in found.get("active", []):
        if run["total"]:
            eta = "" if run.get("eta_s") is None else f", {run['eta_s']:.0f} s left"
            out.print(f"  {escape(run['run_id'])}  {run['done']:g} of {run['total']:g}{eta}")
    for reason, tasks in held.items():
        out.print(f"[yellow]held:[/] {', '.join(tasks)}: {escape(reason)}")
    latest = {run["task_id"]: run for run in found["runs"]}
    for run in sorted(latest.values(), key=lambda run: float(run["started_ns"]))[-MOST_LATEST:]:
        took = "" if run["duration_s"] is None else f"{run['duration_s']:.2f} s"
        out.print(f"  {run['run_id']}  {run['task_type']:24} {run['state']:10} {took} {escape(run['error'] or '')}")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if isinstance(value, float) else str(value)


@task_app.command("hold")
def task_hold(home: HomeOption = None, address: AddressOption = None, as_json: JsonOption = False) -> None:
    """Say what holds each task that does not run, and each run that waits."""
    with connected(home, address) as client:
        found = client.tasks()
    held = [{"id": task["task_id"], "held_by": task["held_by"]} for task in found["tasks"] if task.get("held_by")]
    held += [{"id": run["run_id"], "held_by": run["held_by"]} for run in found["active"] if run.get("held_by")]
    if as_json:
        print_json({"held": held})
        return
    for one in held:
        out.print(f"{escape(one['id'])}: {escape(one['held_by'])}")
    if not held:
        out.print("Nothing is held.")


@task_app.command("story")
def task_story(
    run_id: Annotated[str, typer.Argument(help="Run id, as `tori task list` prints it.")],
    home: HomeOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell the steps of a run, oldest first, and what it had to say."""
    with connected(home, address) as client:
        found = client.run_story(run_id)
    if as_json:
        print_json(found)
        return
    out.print(f"{escape(run_id)} of {escape(found['task_id'])}: {found['state']}")
    for line in found["story"]:
        when = datetime.fromtimestamp(line["time_ns"] / 1e9, UTC).strftime("%H:%M:%S.%f")[:-3]
        out.print(f"  {when}  {escape(line['text'])}")
    if found["result"]:
        out.print(f"  result: {escape(found['result'])}")


@task_app.command("logs")
def task_logs(
    run_id: Annotated[str, typer.Argument(help="Run id, as `tori task list` prints it.")],
    attempt: Annotated[
        int | None,
        typer.Option("--attempt", min=1, help="Only this one; all of them when left out.", show_default=False),
    ] = None,
    home: HomeOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what a run has printed so far, by itself and by what it started; of a failed one also the trace."""
    with connected(home, address) as client:
        found = client.run_logs(run_id)
    if attempt is not None:
        if attempt > found["attempts"]:
            raise BadInput(f"run {run_id} has had {found['attempts']} attempts.", remedy="They count from 1.")
        found["logs"] = [one for one in found["logs"] if one["attempt"] == attempt]
    if as_json:
        print_json(found)
        return
    for one in found["logs"]:
        if found["attempts"] > 1:
            err.print(f"[dim]attempt {one['attempt']}:[/]")
        typer.echo(one["text"], nl=not one["text"].endswith("\n"))
    if not found["attempts"]:
        err.print(f"Run {escape(run_id)} has not begun: it is {found['state']}.")
    elif not found["logs"]:
        err.print(f"Nothing was printed, or it is kept no more; tori task story {escape(run_id)} tells its steps.")


@task_app.command("run")
def task_run(
    task: Annotated[str, typer.Argument(help="Task id, as `tori task list` prints it.")],
    force: Annotated[bool, typer.Option("--force", help="Begin it whatever the pressure, or a throttle.")] = False,
    home: HomeOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a task now. What holds it is said; nothing that is held is forgotten."""
    with connected(home, address) as client:
        found = client.run_task(task, force=force)
    if as_json:
        print_json(found)
        return
    out.print(f"{escape(task)}: run {found['run_id']}")
    if found.get("held_by"):
        out.print(f"[yellow]it waits:[/] {escape(found['held_by'])}")
        if "pressure" in found["held_by"]:
            out.print("It begins by itself when that is over; tori task run --force begins it now.")
    elif found.get("error"):
        out.print(f"[yellow]{found['state']}:[/] {escape(found['error'])}")


@task_app.command("cancel")
def task_cancel(
    run_id: Annotated[str, typer.Argument(help="Run id, as `tori task list` prints it.")],
    home: HomeOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel a run that has not finished."""
    with connected(home, address) as client:
        found = client.cancel_run(run_id)
    if as_json:
        print_json(found)
    else:
        out.print(f"{escape(run_id)}: {found['state']}")


TaskArgument = Annotated[str, typer.Argument(help="Task id, as `tori task list` prints it.")]


@task_app.command("pause")
def task_pause(
    task: TaskArgument, home: HomeOption = None, address: AddressOption = None, as_json: JsonOption = False
) -> None:
    """Let a task's trigger rest until `tori task resume`. What runs goes on; it still runs when it is asked for."""
    _pause_task(task, True, home, address, as_json)


@task_app.command("resume")
def task_resume(
    task: TaskArgument, home: HomeOption = None, address: AddressOption = None, as_json: JsonOption = False
) -> None:
    """Let a task's trigger go on. What was due meanwhile runs once."""
    _pause_task(task, False, home, address, as_json)


def _pause_task(task: str, paused: bool, home: Any, address: Any, as_json: bool) -> None:
    with connected(home, address) as client:
        found = client.pause_task(task, paused=paused)
    if as_json:
        print_json(found)
    else:
        out.print(f"{escape(task)}: {'paused, until tori task resume' if paused else 'it runs as it is due'}")


ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it stands in the event.")]
ModuleArgument = Annotated[str | None, typer.Argument(help="A module; all of them when left out.", show_default=False)]


def pause(
    module: ModuleArgument = None, home: HomeOption = None, address: AddressOption = None, as_json: JsonOption = False
) -> None:
    """Stop taking inputs; they wait in their journals. Questions are still answered."""
    _set_paused(module, True, home, address, as_json)


def resume(
    module: ModuleArgument = None, home: HomeOption = None, address: AddressOption = None, as_json: JsonOption = False
) -> None:
    """Go on after a pause, or after an emergency stop."""
    _set_paused(module, False, home, address, as_json)


def _set_paused(module: str | None, paused: bool, home: Any, address: Any, as_json: bool) -> None:
    with connected(home, address) as client:
        found = client.pause(module, paused=paused)
    if as_json:
        print_json(found)
    else:
        out.print(f"{'Paused' if paused else 'Running'}: {escape(', '.join(found['modules']))}")


SLOWS = {
    "off": "Background work runs as it may.",
    "high": "Low and background tasks wait, the others have half of the slots. What runs goes on.",
    "severe": "Only critical tasks (checkpoints, metrics) begin. What runs goes on.",
    "stopped": "Nothing begins in the background; events and questions go on. tori resume ends it.",
}
"""What a person gets, by level."""


def throttle(
    level: Annotated[str, typer.Argument(help="off, high or severe.")],
    reason: ReasonOption = "",
    home: HomeOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold background work back by hand, until `tori throttle off`. Events and questions are never slowed."""
    if level not in ("off", "high", "severe"):
        raise BadInput(f"there is no throttle {level!r}.", remedy="Levels: off, high, severe; or tori emergency-stop.")
    _throttle(level, reason, home, address, as_json)


def emergency_stop(
    reason: ReasonOption = "", home: HomeOption = None, address: AddressOption = None, as_json: JsonOption = False
) -> None:
    """Kill everything that runs in the background and begin nothing more, until `tori resume`. Events and questions go on.

    No run is lost: what was stopped begins again after it, what was due meanwhile runs once.
    """
    _throttle("stopped", reason, home, address, as_json)


def _throttle(level: str, reason: str, home: Any, address: Any, as_json: bool) -> None:
    with connected(home, address) as client:
        found = client.throttle(level, reason)
    if as_json:
        print_json(found)
        return
    out.print(f"{SLOWS[level]} (It was {found['old']}.)")
    if found["runs"]:
        out.print(f"Stopped: {escape(', '.join(found['runs']))}")


task_app.command("ship")(task_ship)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (ingest, quiesce, digest, pause, resume, throttle):
        app.command()(command)
    app.command("emergency-stop")(emergency_stop)
    app.add_typer(task_app, name="task")
