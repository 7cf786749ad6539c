"""What every command shares: settings, the backend, output as text or JSON, errors as sentences."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from tori.client import Backend, SystemClient, home_of, load_backend
from tori.errors import BadInput, ToriError
from tori.home import expanded

if TYPE_CHECKING:
    from tori.settings import Settings

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

ends_with_process = False
"""Whether this process is one command's own, and its connection ends with it."""

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
    text = json.dumps(value, ensure_ascii=False, default=str)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:  # a terminal that is not UTF-8, or a file name that is no text: JSON can say it in ASCII
        text = json.dumps(value, default=str)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def settings_of(home: Path | None) -> Settings:
    """Return the settings of a home: file, environment, then the command line."""
    from tori.settings import load_settings  # a tenth of a second: not for a command that asks for none

    return load_settings(expanded(home or os.environ.get("TORI_HOME") or "~/.tori"))


@contextmanager
def connected(home: Path | None, address: str | None) -> Iterator[SystemClient]:
    """Yield a client of the running system, or of the rewound copy that lies in the home."""
    settings = settings_of(home)
    client = _copy_in(settings) or backend().connect(settings, address)
    try:
        yield client
    finally:
        if not ends_with_process:
            client.close()


def _copy_in(settings: Settings) -> SystemClient | None:
    """Return a client of the rewound copy in a home, open in this process; None: it is no copy.

    The settings of the mind that it is a copy of hold for it too, unless it has a file of its own.
    """
    home = home_of(settings)
    if not (home / "rewound.json").exists():
        return None
    from tori.local.rewound import RewoundClient, source_of
    from tori.settings import FILE

    own = settings if (home / FILE).exists() else settings_of(source_of(home))
    return RewoundClient(home, own.plain())


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
        print_json({"error": type(error).__name__, "message": str(error)})
    err.print(f"[bold red]tori:[/] {escape(str(error))}", markup=True)
    return error.exit_code
