"""``tori config show | check``."""

from __future__ import annotations

import typer
from rich.markup import escape

from tori.cli.session import HomeOption, JsonOption, out, print_json, settings_of

config_app = typer.Typer(help="Show and check the settings.", no_args_is_help=True, rich_markup_mode=None)


@config_app.command("show")
def show(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Print every setting with its unit, where its value comes from, and why the default is what it is."""
    rows = settings_of(home).describe()
    if as_json:
        print_json({"settings": rows})
        return
    for row in rows:
        unit = f" {row['unit']}" if row["unit"] else ""
        out.print(f"[bold]{row['name']}[/] = {escape(str(row['value']))}{unit}  [dim]{row['origin']}[/]")
        out.print(f"    {escape(row['reason'])}")


@config_app.command("check")
def check(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Check tori.toml and the TORI_ environment; exits 78 with the key and the nearest valid one."""
    settings = settings_of(home)
    if as_json:
        print_json({"valid": True, "home": str(settings.home)})
    else:
        out.print(f"The settings of {escape(str(settings.home))} are valid.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(config_app, name="config")
