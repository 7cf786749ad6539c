"""``tori demo``: everything once, on real text, from nothing to a report, then a clean stop."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from tori.cli.progress import feeding
from tori.cli.session import HomeOption, JsonOption, backend, err, out, print_json, settings_of
from tori.client import SystemClient
from tori.feed import FeedReport, feed
from tori.report import compose, questions_for, render
from tori.sources import Source, open_source

PYTHON_DOCUMENTATION = "python:"
QUESTIONS = [
    "how do I run a function in parallel on a cluster",
    "how to read a compressed file line by line",
    "what is the eigenvalue decomposition of a symmetric matrix",
    "how are settings validated from environment variables",
    "how do I wait for several tasks to finish with a timeout",
]


def demo(
    source: Annotated[
        str, typer.Option("--source", help="A folder, a JSONL file, or python: (the default).")
    ] = PYTHON_DOCUMENTATION,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the system running.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start, read a corpus, think, report, stop. Without --home or TORI_HOME each source gets a home of its own."""
    begun = time.monotonic()
    opened = open_source(source)
    settings = settings_of(_home_for(source, home))
    runner = backend()
    _say(f"Starting Ray and TORI in {settings.home} ...", as_json)
    place = runner.up(settings, None)
    try:
        client = runner.connect(settings, None)
        try:
            summary = _run(client, opened, source, begun, place.state_dir, as_json=as_json)
        finally:
            client.close()
    finally:
        if not keep:
            runner.down(settings, None)
    if as_json:
        print_json(summary)
        return
    _closing(summary, escape(str(settings.home)), keep=keep)


def _home_for(source: str, home: Path | None) -> Path | None:
    if home is not None or os.environ.get("TORI_HOME"):
        return home
    name = "python" if source == PYTHON_DOCUMENTATION else Path(source).name.partition(".")[0] or "folder"
    return Path("~/.tori/demo").expanduser() / "".join(c if c.isalnum() else "-" for c in name)


def _say(text: str, as_json: bool) -> None:
    if not as_json:
        err.print(f"[dim]{escape(text)}[/]")


def _run(
    client: SystemClient, opened: Source, source: str, begun: float, state_dir: str, *, as_json: bool
) -> dict[str, Any]:
    _say(f"Reading {opened.name} ({time.monotonic() - begun:.1f} s since start) ...", as_json)
    with feeding(opened, quiet=as_json) as progress:
        fed = feed(client, opened, progress)
    _say(f"{fed.accepted:,} documents on disk after {time.monotonic() - begun:.1f} s. Thinking ...", as_json)
    settled = client.quiesce()
    _say(f"Settled after {time.monotonic() - begun:.1f} s.", as_json)
    questions = QUESTIONS if source == PYTHON_DOCUMENTATION else questions_for(client)
    found = compose(client, questions)
    if not as_json:
        _opening(fed, found)
        render(found, out)
    held = {m["name"]: m.get("summary", {}) for m in found["status"]["modules"]}
    return {
        "documents": held["clients"].get("documents", 0),
        "concepts": held["reader"].get("concepts", 0),
        "threads": held["braid"].get("threads", 0),
        "bridges": _total(found["bridges"]),
        "gaps": _total(found["gaps"]),
        "aliens": _total(found["aliens"]),
        "events": found["status"]["events"],
        "seconds": round(time.monotonic() - begun, 2),
        "digest": settled["digest"],
        "state_dir": state_dir,
        "objects": fed.objects,
        "events_per_s": found["status"]["events_per_s"],
        "refs_routed": found["status"]["refs_routed"],
        "refused": fed.refused,
    }


def _total(found: dict[str, Any]) -> int:
    return int(found.get("total", found.get("found", len(found["items"]))))


def _opening(fed: FeedReport, found: dict[str, Any]) -> None:
    held = {m["name"]: m.get("summary", {}) for m in found["status"]["modules"]}
    out.print()
    out.print(
        f"[bold]TORI read {held['clients'].get('documents', 0):,} documents[/] "
        f"({fed.objects:,} titled objects, {fed.characters / 1e6:.1f} million characters) and found "
        f"{held['reader'].get('concepts', 0):,} concepts."
    )


def _closing(summary: dict[str, Any], home: str, *, keep: bool) -> None:
    out.print()
    out.print(
        f"Everything is stored in [bold]{escape(summary['state_dir'])}[/] (journals, checkpoints, settings, logs)."
    )
    out.print(f"Digest {summary['digest']}  ·  {summary['seconds']:.0f} s in all.")
    if keep:
        out.print(f"Still running: tori ask QUESTION --home {home}; stop it with tori down --home {home}.")
    else:
        out.print(f"Stopped cleanly. Go on with: tori up --home {home}, tori ask QUESTION --home {home}.")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(demo)
