"""``tori up | down | status | doctor``."""

from __future__ import annotations

from typing import Any

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from tori.cli.doctor import examine
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
from tori.errors import BadInput, NotRunning, Unavailable
from tori.trends.book import sentence

SHOWN_COUNTS = 4
HELD = {
    "clients": ("documents", "replaced"),
    "reader": ("documents", "concepts", "characters"),
    "hierarchy": ("documents", "nodes", "scales"),
    "braid": ("documents", "threads", "braids", "bridges"),
    "wormhole": ("bridges", "suggestions", "tested"),
    "alien": ("aliens", "standing", "tested"),
    "scars": ("gaps", "tested"),
    "fuzzing": ("checks", "failing"),
}
"""What a person wants to know of each module, zero or not; of any other module its first counts that are not zero."""


def up(home: HomeOption = None, address: AddressOption = None, as_json: JsonOption = False) -> None:
    """Start a system on this machine, or join the one at --address as one more node with a home of its own."""
    from tori.checkpoint.rewind import note_of

    settings = settings_of(home)
    note = note_of(home_of(settings))
    if note is not None:
        raise BadInput(
            f"{settings.home} is a read-only copy of a past moment: nothing runs in it.",
            remedy=f"To go on from there: tori rewind {note.moment.text} --in-place --home {note.source}.",
        )
    place = backend().up(settings, address)
    if as_json:
        print_json(msgspec.to_builtins(place))
        return
    out.print(f"TORI runs at [bold]{place.address}[/], state in [bold]{escape(place.state_dir)}[/].")
    if place.dashboard_url:
        out.print(f"Ray dashboard: {place.dashboard_url}")
    out.print("Next: tori ingest PATH, tori ask QUESTION, tori status, tori down.")


def down(home: HomeOption = None, address: AddressOption = None, as_json: JsonOption = False) -> None:
    """Stop the system: final checkpoint, modules in reverse order, then the cluster if it was started for it."""
    stopped = backend().down(settings_of(home), address)
    for problem in stopped.problems:
        err.print(f"[yellow]tori:[/] {escape(problem)}")
    if as_json:
        print_json({"stopped": stopped.was_running, "problems": stopped.problems})
    else:
        out.print("Stopped." if stopped else "Nothing was running.")


def status(home: HomeOption = None, address: AddressOption = None, as_json: JsonOption = False) -> None:
    """Show the system and its modules; exits 75 while a module is offline because its node is away."""
    with connected(home, address) as client:
        found = client.status()
    if as_json:
        print_json(found)
    else:
        print_status(found)
    if any(module["state"] == "offline" for module in found["modules"]):
        raise typer.Exit(Unavailable.exit_code)


def print_status(found: dict[str, Any]) -> None:
    """Print the modules, a line for the whole, a line a node when there are several, and what went wrong lately."""
    out.print(status_table(found))
    out.print(
        f"{found['state']}  ·  {found['events']:,} events, {found['events_per_s']:,.0f}/s on average while documents came in  ·  "
        f"{found['refs_routed']:,} refs routed  ·  nodes {len(found['nodes'])}"
    )
    for node in found["nodes"] if len(found["nodes"]) > 1 else ():
        state = (
            "  [red]away[/]" if not node["alive"] else "" if node.get("answers", True) else "  [red]does not answer[/]"
        )
        out.print(
            f"node {node['node'][:8]} {node['address']}{state}  ·  {node['refs_routed']:,} refs routed  ·  "
            f"{', '.join(node['modules']) or 'no modules'}"
        )
        for journal, reason in node["problems"].items():
            out.print(f"  [yellow]{journal}[/]: {reason}")
    if found.get("doing"):
        out.print(f"[yellow]now[/]: {escape(found['doing'])}")
    if found.get("throttle", "off") == "stopped":
        out.print("[red]emergency stop[/]: nothing runs in the background. tori resume")
    elif found.get("pressure", {}).get("reason"):
        out.print(f"[yellow]background work is held back[/]: {escape(found['pressure']['reason'])}")
    for alert in found.get("trends", [])[:3]:
        out.print(f"[yellow]trend[/] {escape(sentence(alert))} [dim]{alert['id']}[/]")
    for problem in found.get("problems", [])[-3:]:
        out.print(
            f"[yellow]{problem['type']}[/] {escape(problem['subject'])}: {escape(problem['message'])} "
            f"[dim]{problem['id']}[/]"
        )


def status_table(found: dict[str, Any]) -> Table:
    """Return the modules as a table."""
    table = Table("module", "state", "restarts", "lag", "events", "what it holds", box=None, pad_edge=False)
    for module in found["modules"]:
        table.add_row(
            module["name"],
            module["state"],
            str(module["restarts"]),
            f"{module['lag']:,}",
            f"{module['events']:,}",
            _held(module),
        )
    return table


def _held(module: dict[str, Any]) -> str:
    """Return what a module holds in a few words; a dash when it does not say."""
    summary = module.get("summary") or {}
    counts = {k: v for k, v in summary.items() if isinstance(v, int) and not k.endswith("_bytes")}
    shown = HELD.get(module["name"]) or [k for k, v in counts.items() if v][:SHOWN_COUNTS]
    words = [f"{counts[k]:,} {k}" for k in shown if k in counts]
    if module.get("waits_for"):
        words.append("[red]waits for room on its disk[/]")
    if module.get("dead_letters"):
        words.append(f"[red]{module['dead_letters']:,} dead letters[/]")
    return ", ".join(words) or "-"


def doctor(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Look for what would make TORI slow or unsafe on this machine."""
    findings = examine(settings_of(home))
    is_well = all(f["level"] != "error" for f in findings)
    if as_json:
        print_json({"healthy": is_well, "findings": findings})
    else:
        colours = {"ok": "green", "warning": "yellow", "error": "red"}
        for finding in findings:
            out.print(
                f"[{colours[finding['level']]}]{finding['level']:8}[/] {finding['subject']}: {escape(finding['message'])}"
            )
    if not is_well:
        raise typer.Exit(NotRunning.exit_code)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (up, down, status, doctor):
        app.command()(command)
