"""``tori reload``: new code of modules takes over while the system runs, once or whenever a file changes."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer
from rich.markup import escape

from tori.cli.session import AddressOption, HomeOption, JsonOption, connected, err, out, print_json, settings_of
from tori.client import SystemClient
from tori.errors import BadInput, ToriError
from tori.modules.registry import START_ORDER, user_modules
from tori.modules.source import SourceWatch
from tori.modules.user import load_modules
from tori.scheduler.transition import ENDED

LOOK_S = 0.5
"""Between two looks at the files: a person does not notice, and a hundred stat calls cost nothing."""
TASK = "hot_reload"


def reload(
    modules: Annotated[
        list[str] | None, typer.Argument(help="Modules, as `tori status` names them.", show_default=False)
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on: reload what changes whenever its files change, until Ctrl-C.")
    ] = False,
    home: HomeOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the installed code of modules in the place of the code that runs. Code that fails is refused, and the old goes on."""
    if not modules and not watch:
        raise BadInput("no module is named.", remedy="tori reload MODULE, or tori reload --watch.")
    brought = load_modules(settings_of(home).plain())
    with connected(home, address) as client:
        done = [_reload_one(client, name, as_json=as_json) for name in modules or ()]
        if as_json and not watch:
            print_json({"reloads": done})
        if watch:
            _watch(client, tuple(modules or ("clients", *START_ORDER, *(brought or user_modules()))), as_json=as_json)


def _reload_one(client: SystemClient, name: str, *, as_json: bool) -> dict[str, Any]:
    found = client.reload(name)
    if not as_json:
        _say(found)
    return found


def _say(found: dict[str, Any]) -> None:
    versions = f"{found['from_version']} -> {found['to_version']}" if found["changed"] else "the same code"
    out.print(f"{escape(found['module'])}: {versions}, nothing handled for {found['pause_s'] * 1000:.0f} ms.")


def _watch(client: SystemClient, names: tuple[str, ...], *, as_json: bool) -> None:
    """Have the task ``hot_reload`` run whenever a file of these modules changes; returns never."""
    files = SourceWatch(names)
    if not as_json:
        err.print(f"[dim]watching {', '.join(names)}; Ctrl-C ends it[/]")
    while True:
        time.sleep(LOOK_S)
        if files.changed():
            try:
                story = _await_run(client, client.run_task(TASK)["run_id"])
            except ToriError as error:  # the next change is another try
                err.print(f"[red]not reloaded[/] {escape(str(error))}")
                continue
            _tell(story, as_json=as_json)


def _await_run(client: SystemClient, run_id: str) -> dict[str, Any]:
    while (story := client.run_story(run_id))["state"] not in ENDED:
        time.sleep(LOOK_S / 2)
    return story


def _tell(story: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json({"state": story["state"], "result": json.loads(story["result"] or "{}")})
        return
    if story["state"] != "succeeded":
        err.print(f"[red]not reloaded[/] {escape(story['story'][-1]['text'])}")
        return
    for found in json.loads(story["result"])["reloads"]:
        _say(found)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(reload)
