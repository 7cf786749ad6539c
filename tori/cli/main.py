"""Entry point of the command line."""

from __future__ import annotations

import contextlib
import errno
import gc
import io
import os
import signal
import sys
from importlib import import_module
from typing import NoReturn

import typer
from rich.markup import escape

from tori import __version__
from tori.cli import session
from tori.cli.session import err, print_json, report_error
from tori.errors import JournalError, PermanentError, ToriError
from tori.interpreter import COLLECT_AFTER

EXIT_INTERRUPTED = 130
EXIT_INTERNAL = 70
EXIT_CLOSED = 141
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE)

COMMANDS = {
    "lifecycle": ("up", "down", "status", "doctor"),
    "demo": ("demo",),
    "ask": ("ask", "map", "why", "tail"),
    "findings": ("bridges", "gaps", "aliens", "report", "accept", "reject"),
    "browse": ("events", "dlq"),
    "work": ("ingest", "quiesce", "digest", "pause", "resume", "throttle", "emergency-stop", "task"),
    "checkpoint": ("checkpoint", "restore", "rewind"),
    "reload": ("reload",),
    "submit": ("submit",),
    "config": ("config",),
    "journal": ("journal",),
}
"""Which module of ``tori.cli`` has which commands: a command that is typed has only its own imported."""


def application(first: str = "") -> typer.Typer:
    """Return the command line: all of it, or as much as ``first`` needs where that is the name of a command."""
    app = typer.Typer(
        name="tori",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        help="TORI keeps a mind over a growing body of text, on a durable event bus of Ray actors.",
    )
    for module in [name for name, commands in COMMANDS.items() if first in commands] or COMMANDS:
        import_module(f"tori.cli.{module}").register(app)
    app.command()(version)
    return app


def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def run() -> NoReturn:
    """Be the ``tori`` command: a process of its own, which is over as soon as it has answered.

    What a command did is on disk when it says so, and a system hears of a door that went by its socket: to take Ray's driver and
    the interpreter apart in order, which takes 0.4 s, would change nothing.
    """
    gc.set_threshold(COLLECT_AFTER, 20, 50)  # a tenth of the time of imports was garbage collection, which found none
    session.ends_with_process = True
    code = EXIT_INTERNAL
    try:
        code = _flushed(_code_of_main())
    finally:
        os._exit(code)


def _code_of_main() -> int:
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except KeyboardInterrupt:  # asked to end once more while it said that it was interrupted
        return EXIT_INTERRUPTED
    except OSError:  # what the machine refused could not be said either
        return JournalError.exit_code
    return EXIT_INTERNAL


def _flushed(code: int) -> int:
    """Have said what was printed; return ``code``, or that of what kept it from being said. A stream may have been closed before."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except BrokenPipeError:
            code = EXIT_CLOSED
        except OSError as error:
            code = JournalError.exit_code
            with contextlib.suppress(OSError):
                _machine(error)
    return code


def main() -> None:
    """Run the command line; errors become a sentence and a documented exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal's encoding lacks is shown as \\x.. rather than being the end of the command.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = application(*sys.argv[1:2])(standalone_mode=False)
    except (BrokenPipeError, SystemExit):  # typer makes the second of the first; no command exits by itself
        code = _closed()
    except ToriError as error:
        code = report_error(error, as_json="--json" in sys.argv)
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    except typer.Exit as error:
        code = error.exit_code
    except OSError as error:
        code = _machine(error)
    except Exception as error:
        code = _usage_or_internal(error)
    if code == EXIT_INTERRUPTED:
        err.print("tori: interrupted; what was acknowledged is kept, run the same command again to go on.")
    sys.exit(code if isinstance(code, int) else 0)


def _interrupt(number: int, frame: object) -> None:
    """Treat a termination as Ctrl-C: what was acknowledged is said to be kept."""
    raise KeyboardInterrupt


def _closed() -> int:
    """Return the exit code for a reader that closed the pipe (``tori tail | head``); nothing more can be said to it."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_CLOSED


def _machine(error: OSError) -> int:
    """Say what the machine refused; anything else that reaches this far is a defect."""
    if error.errno not in _DISK:
        return _usage_or_internal(error)
    place = f"{error.filename}: " if error.filename else ""
    reason = PermanentError(
        f"{place}{error.strerror}.", remedy="Free space, or allow reading and writing there; nothing was half done."
    )
    report_error(reason, as_json="--json" in sys.argv)
    return JournalError.exit_code


def _usage_or_internal(error: Exception) -> int:
    is_json = "--json" in sys.argv
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        if is_json:
            print_json({"error": "UsageError", "message": error.format_message()})
        err.print(f"tori: {escape(error.format_message())}")
        err.print("Try `tori --help`.")
        return int(error.exit_code)
    if is_json:
        print_json({"error": type(error).__name__, "message": f"a defect in TORI: {error}"})
    err.print_exception()
    err.print("tori: this is a defect in TORI; please report the lines above.")
    return EXIT_INTERNAL
