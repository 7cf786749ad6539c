"""``tori ask | map | why | tail``."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.tree import Tree

from tori.cli.session import AddressOption, HomeOption, JsonOption, connected, out, positive, print_json
from tori.client import SystemClient
from tori.errors import BadInput

FOLLOW_S = 0.5


def ask(
    question: Annotated[str, typer.Argument(help="A question in plain words.")],
    top: Annotated[int, typer.Option("--top", help="How many answers.")] = 5,
    home: HomeOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the memory; every answer quotes its source."""
    if not question.strip():
        raise BadInput("the question is empty.", remedy='Write it in quotes: tori ask "why was the GIL made optional".')
    with connected(home, address) as client:
        found = client.query("braid", "ask", {"question": question, "top": positive("--top", top)})
    if as_json:
        print_json(found)
        return
    if not found["answers"]:
        out.print("Nothing in the corpus speaks about this. `tori status` shows how many documents there are.")
    for answer in found["answers"]:
        print_answer(answer)


def print_answer(answer: dict[str, Any]) -> None:
    """Print one answer: where, what, and how to ask why."""
    title = answer.get("title") or answer["id"]
    out.print(f"[bold]{escape(answer['id'])}[/]  {escape(str(title))}  [dim]{answer['score']:.3f}[/]")
    out.print(f"  “{escape(' '.join(answer['quote'].split()))}”")
    out.print(f"  [dim]tori why {answer['why']}[/]")


def show_map(
    scale: Annotated[int | None, typer.Option("--scale", help="Only nodes of this scale (1 = finest).")] = None,
    home: HomeOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the map of topics at every scale."""
    arguments = {} if scale is None else {"scale": scale}
    with connected(home, address) as client:
        found = client.query("hierarchy", "map", arguments)
    if as_json:
        print_json(found)
    elif not found["nodes"]:
        out.print("The map is empty: feed documents with `tori ingest PATH`, then `tori quiesce`.")
    else:
        out.print(map_tree(found["nodes"]))


def map_tree(nodes: list[dict[str, Any]], *, children: int = 6, top: int = 40) -> Tree:
    """Return the map as a tree: the largest nodes first, the rest counted."""
    below: dict[str | None, list[dict[str, Any]]] = {}
    known = {n["id"] for n in nodes}
    for node in nodes:
        below.setdefault(node["parent"] if node["parent"] in known else None, []).append(node)
    tree = Tree(f"[bold]{len(nodes)} topics[/]")

    def grow(branch: Tree, parent: str | None, limit: int) -> None:
        found = sorted(below.get(parent, []), key=lambda n: (-n["size"], n["label"]))
        for node in found[:limit]:
            mark = "  [red]changed[/]" if node.get("alien") else ""
            grow(branch.add(f"{escape(node['label'])} [dim]{node['size']}[/]{mark}"), node["id"], children)
        if len(found) > limit:
            branch.add(f"[dim]and {len(found) - limit} more[/]")

    grow(tree, None, top)
    return tree


def resolve(client: SystemClient, identifier: str) -> str:
    """Return the event id behind any id a command prints; raises BadInput."""
    text = identifier.strip()
    if len(text) == 32 and all(c in "0123456789abcdef" for c in text):
        return text
    found = client.find(text)
    if found is None:
        raise BadInput(
            f"nothing here is called {identifier!r}.",
            remedy="Use an id that ask, map, bridges, gaps, aliens, task list, checkpoint, status or tail printed.",
        )
    return found


def why(
    identifier: Annotated[
        str, typer.Argument(help="Id of an event, document, concept, bridge, alarm, gap, run, problem or checkpoint.")
    ],
    home: HomeOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the chain of events behind something, down to the documents."""
    with connected(home, address) as client:
        rows = client.why(resolve(client, identifier))
    if as_json:
        print_json({"nodes": rows})
        return
    by_id = {row["id"]: row for row in rows}
    tree = Tree(_why_line(rows[0]))
    _grow_story(tree, rows[0], by_id, {rows[0]["id"]})
    out.print(tree)


def _grow_story(branch: Tree, row: dict[str, Any], by_id: dict[str, dict[str, Any]], shown: set[str]) -> None:
    for quote in row["payload"].get("evidence") or []:
        branch.add(
            f"[italic]“{escape(' '.join(quote['quote'].split())[:200])}”[/] [dim]{escape(quote['document_id'])}[/]"
        )
    for cause in row["causes"]:
        found = by_id.get(cause)
        if found is None or cause in shown:
            continue
        shown.add(cause)
        _grow_story(branch.add(_why_line(found)), found, by_id, shown)


def _why_line(row: dict[str, Any]) -> str:
    payload = row["payload"]
    name = payload.get("title") or payload.get("label") or payload.get("reason") or row["key"]
    return f"[bold]{row['type']}[/] {escape(str(name)[:120])} [dim]{row['source']} {row['time'][:19]} {row['id']}[/]"


def tail(
    count: Annotated[int, typer.Option("-n", "--count", help="How many events.")] = 20,
    types: Annotated[list[str] | None, typer.Option("--type", help="Only this type; may be given again.")] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as events arrive, until Ctrl-C.")] = False,
    home: HomeOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the newest events; with -f, go on as they arrive (one JSON object a line with --json)."""
    wanted = _check_types(types)
    with connected(home, address) as client:
        rows = client.tail(positive("--count", count), wanted)
        if as_json and not follow:
            print_json({"events": rows})
            return
        _print_rows(rows, as_json=as_json)
        offsets: dict[str, int] = {}
        while follow:
            found = client.since(offsets, 500, wanted)
            offsets = found["offsets"]
            _print_rows(found["events"], as_json=as_json)
            time.sleep(FOLLOW_S)


def _check_types(types: list[str] | None) -> tuple[str, ...]:
    from tori.events.catalogue import entry_of

    return tuple(entry_of(name).type for name in types or [])


def _print_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    for row in rows:
        if as_json:
            print_json(row)
            continue
        fields = ", ".join(f"{k}={_brief(v)}" for k, v in row["payload"].items() if v not in ("", None, [], {}))
        out.print(
            f"[dim]{row['time'][11:23]}[/] [bold]{row['type']:18}[/] {row['source']:12} {escape(fields[:160])} "
            f"[dim]{row['id']}[/]"
        )


def _brief(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 40 else text[:37] + "..."


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(ask)
    app.command("map")(show_map)
    app.command()(why)
    app.command()(tail)
