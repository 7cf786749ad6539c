"""The report: what the mind holds and what each module did, gathered from a running system and written for a person."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.rule import Rule

from tori.client import SystemClient
from tori.trends.book import sentence

FINDINGS = {"bridges": ("wormhole", "wormhole_id"), "aliens": ("alien", "alien_id"), "gaps": ("scars", "scar_id")}
SHOWN = 5


def compose(client: SystemClient, questions: list[str] | None = None, limit: int = 10) -> dict[str, Any]:
    """Return the report as plain values: status, map, answers, findings, runs, problems."""
    found: dict[str, Any] = {"status": client.status(), "map": client.query("hierarchy", "map", {})}
    for name, (module, _) in FINDINGS.items():
        found[name] = client.query(module, name, {"limit": limit})
    found["answers"] = [
        {"question": q, "answers": client.query("braid", "ask", {"question": q, "top": 3})["answers"]}
        for q in questions or []
    ]
    found["runs"] = client.tasks()["runs"]
    found["recovery"] = _recovery(client, found["runs"])
    found["trends"] = client.query("orchestrator", "trends", {"limit": limit})
    return found


def _recovery(client: SystemClient, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how the last check of a recovery ended; empty when there was none."""
    checks = [run for run in runs if run["task_type"] == "chaos_recovery" and run["state"] in ("succeeded", "failed")]
    if not checks:
        return {}
    last = checks[-1]
    result = client.run_story(last["run_id"])["result"] if last["state"] == "succeeded" else ""
    return {"state": last["state"], "error": last["error"], **json.loads(result or "{}")}


def questions_for(client: SystemClient, count: int = 5) -> list[str]:
    """Return questions about what the corpus talks of most: one a large topic of the map."""
    nodes = client.query("hierarchy", "map", {})["nodes"]
    roots = [n for n in nodes if n["parent"] is None] or nodes
    roots.sort(key=lambda n: (-n["size"], n["label"]))
    return [f"what is known about {' and '.join(n['label'].split(' / ')[:2])}" for n in roots[:count]]


def render(found: dict[str, Any], out: Console) -> None:
    """Write a report to a console."""
    from tori.cli.ask import map_tree, print_answer
    from tori.cli.findings import print_alien, print_bridge
    from tori.cli.lifecycle import status_table

    status = found["status"]
    _title(out, "The map")
    out.print(map_tree(found["map"]["nodes"], children=4, top=16))
    if found["answers"]:
        _title(out, "Questions")
        for one in found["answers"]:
            out.print(f"[bold cyan]{escape(one['question'])}[/]")
            for answer in one["answers"][:1]:
                print_answer(answer)
            if not one["answers"]:
                out.print("  no answer in the corpus")
    _title(out, "Bridges")
    _section(out, found["bridges"], print_bridge)
    _title(out, "Alarms")
    _section(out, found["aliens"], print_alien)
    _title(out, "Gaps")
    _section(out, found["gaps"], lambda item: out.print(f"{escape(item['details'])}  [dim]p {item['p_value']:.3f}[/]"))
    _title(out, "Trends")
    _trends(out, found["trends"])
    _title(out, "What each module did")
    out.print(status_table(status))
    out.print(
        f"{status['events']:,} events, {status['events_per_s']:,.0f} events/s from the first document to the last event, "
        f"{status['refs_routed']:,} object refs routed, {len(found['runs'])} task runs"
    )
    recovery = found.get("recovery") or {}
    if recovery.get("state") == "succeeded":
        out.print(
            f"Killed on purpose: {escape(recovery['module'])} came back in {recovery['recovered_s']:.1f} s as it was."
        )
    elif recovery:
        out.print(f"[red]A recovery check failed:[/] {escape(recovery['error'] or '')}")
    for problem in status.get("problems", [])[-SHOWN:]:
        out.print(f"[yellow]{problem['type']}[/] {escape(problem['subject'])}: {escape(problem['message'])}")


def _trends(out: Console, found: dict[str, Any]) -> None:
    """Say what left its baseline, and what is watched."""
    for alert in found["alerts"][:SHOWN]:
        out.print(f"{escape(sentence(alert))}  [dim]{alert['id']}[/]")
    watched = [row for row in found["series"] if row["state"] == "watched"]
    learning = len(found["series"]) - len(watched)
    if not found["alerts"]:
        out.print(f"nothing has left its baseline: {len(watched)} series watched, {learning} still learning theirs")


def _title(out: Console, text: str) -> None:
    out.print()
    out.print(Rule(f"[bold]{text}", align="left", style="dim"))


def _section(out: Console, found: dict[str, Any], show: Any) -> None:
    for item in found["items"][:SHOWN]:
        show(item)
    more = len(found["items"]) - SHOWN
    if more > 0:
        out.print(f"[dim]and {more} more[/]")
    if not found["items"]:
        out.print(f"none among {found['tested']:,} tested. {escape(found.get('reason', ''))}")
