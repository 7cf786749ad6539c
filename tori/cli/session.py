"""What every command shares: settings, the backend, output as text or JSON, errors as sentences."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tori.client import Backend, SystemClient, load_backend
from tori.errors import BadInput, ToriError
from tori.settings import Settings, load_settings

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="Where state lives (default: TORI_HOME or ~/.tori).", show_default=False),
]
AddressOption = Annotated[
    str | None,
    typer.Option("--address", help="Address of a running Ray cluster (host:port).", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON object on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def settings_of(home: Path | None) -> Settings:
    """Return the settings of a home: file, environment, then the command line."""
    chosen = home or Path(os.environ.get("TORI_HOME", "~/.tori"))
    return load_settings(chosen.expanduser())


@contextmanager
def connected(home: Path | None, address: str | None) -> Iterator[SystemClient]:
    """Yield a client of the running system."""
    settings = settings_of(home)
    client = backend().connect(settings, address)
    try:
        yield client
    finally:
        client.close()


def backend() -> Backend:
    """Return the installed backend."""
    return load_backend()


def positive(name: str, value: int) -> int:
    """Return ``value`` if it is positive; raises BadInput naming the option."""
    if value <= 0:
        raise BadInput(f"{name} is {value}.", remedy="Give a number above 0.")
    return value


def report_error(error: ToriError, *, as_json: bool) -> int:
    """Say an error the way the caller wants it; return the exit code."""
    if as_json:
        sys.stdout.write(json.dumps({"error": type(error).__name__, "message": str(error)}, ensure_ascii=False) + "\n")
    err.print(f"[bold red]tori:[/] {error}", markup=True)
    return error.exit_code
