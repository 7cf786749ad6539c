"""``tori bridges | gaps | aliens | report | accept | reject``."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from tori.cli.session import AddressOption, HomeOption, JsonOption, connected, out, positive, print_json
from tori.report import compose, render

LimitOption = Annotated[int, typer.Option("--limit", help="How many at most.")]


def _findings(module: str, name: str, limit: int, home: Any, address: Any) -> dict[str, Any]:
    with connected(home, address) as client:
        found: dict[str, Any] = client.query(module, name, {"limit": positive("--limit", limit)})
    return found


def _print_empty(found: dict[str, Any]) -> None:
    if not found["items"]:
        out.print(f"None among {found['tested']:,} tested. {escape(found.get('reason', ''))}")


def bridges(
    limit: LimitOption = 20, home: HomeOption = None, address: AddressOption = None, as_json: JsonOption = False
) -> None:
    """Show bridges: pairs that are similar, far apart and significant."""
    found = _findings("wormhole", "bridges", limit, home, address)
    if as_json:
        print_json(found)
        return
    _print_empty(found)
    for item in found["items"]:
        print_bridge(item)


def print_bridge(item: dict[str, Any]) -> None:
    """Print one bridge with its evidence."""
    out.print(
        f"[bold]{escape(str(item.get('title_a') or item['concept_a']))}[/] ⟷ "
        f"[bold]{escape(str(item.get('title_b') or item['concept_b']))}[/]  "
        f"[dim]strength {item['strength']:.2f}, p {item['p_value']:.1e}, {escape(str(item.get('reason', '')))}[/]"
    )
    print_evidence(item)
    out.print(f"  [dim]tori why {item['wormhole_id']}[/]")


def print_evidence(item: dict[str, Any]) -> None:
    """Print the quotations of a finding."""
    for evidence in item.get("evidence") or []:
        out.print(f"  “{escape(' '.join(evidence['quote'].split())[:220])}” [dim]{escape(evidence['document_id'])}[/]")


def gaps(
    limit: LimitOption = 20, home: HomeOption = None, address: AddressOption = None, as_json: JsonOption = False
) -> None:
    """Show gaps: cycles of related things with nothing in their middle."""
    found = _findings("scars", "gaps", limit, home, address)
    if as_json:
        print_json(found)
        return
    _print_empty(found)
    for item in found["items"]:
        out.print(
            f"[bold]{escape(item['details'])}[/]  [dim]p {item['p_value']:.3f}, persistence {item['persistence']:.2f}[/]"
        )
        out.print(f"  {escape(' → '.join(item['concepts']))}")
        print_evidence(item)
        out.print(f"  [dim]tori why {item['scar_id']}[/]")


def aliens(
    limit: LimitOption = 20, home: HomeOption = None, address: AddressOption = None, as_json: JsonOption = False
) -> None:
    """Show alarms: concepts whose activity departed from what the past explains."""
    found = _findings("alien", "aliens", limit, home, address)
    if as_json:
        print_json(found)
        return
    _print_empty(found)
    for item in found["items"]:
        print_alien(item)


def print_alien(item: dict[str, Any]) -> None:
    """Print one alarm."""
    out.print(
        f"[bold]{escape(item['label'])}[/] since {item['onset']}  "
        f"[dim]p {item['significance']:.1e}[/]  {escape(item.get('context', ''))}"
    )
    print_evidence(item)
    out.print(f"  [dim]tori why {item['alien_id']}[/]")


def report(home: HomeOption = None, address: AddressOption = None, as_json: JsonOption = False) -> None:
    """Show the morning report: the map, what is new, what each module did."""
    with connected(home, address) as client:
        found = compose(client)
    if as_json:
        print_json(found)
    else:
        render(found, out)


def accept(
    identifier: Annotated[str, typer.Argument(help="Id of a bridge.")],
    comment: Annotated[str, typer.Option("--comment", help="Why.")] = "",
    home: HomeOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a suggested bridge."""
    _feedback("accept", identifier, comment, home, address, as_json)


def reject(
    identifier: Annotated[str, typer.Argument(help="Id of a bridge.")],
    comment: Annotated[str, typer.Option("--comment", help="Why.")] = "",
    home: HomeOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turn a suggested bridge down; it is not suggested again."""
    _feedback("reject", identifier, comment, home, address, as_json)


def _feedback(name: str, identifier: str, comment: str, home: Any, address: Any, as_json: bool) -> None:
    with connected(home, address) as client:
        answer = client.command("wormhole", name, {"id": identifier, "by": "cli", "comment": comment})
    if as_json:
        print_json({"id": identifier, "state": f"{name}ed", "answer": answer})
    else:
        out.print(f"{escape(identifier)} {name}ed.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (bridges, gaps, aliens, report, accept, reject):
        app.command()(command)
