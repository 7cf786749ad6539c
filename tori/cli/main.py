"""Entry point of the command line."""

from __future__ import annotations

import sys

import typer

from tori import __version__
from tori.cli import ask, config, demo, findings, lifecycle, submit, work
from tori.cli.session import err, report_error
from tori.errors import ToriError

EXIT_INTERRUPTED = 130
EXIT_INTERNAL = 70

app = typer.Typer(
    name="tori",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="TORI keeps a mind over a growing body of text, on a durable event bus of Ray actors.",
)
lifecycle.register(app)
demo.register(app)
ask.register(app)
findings.register(app)
work.register(app)
submit.register(app)
config.register(app)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Run the command line; errors become a sentence and a documented exit code."""
    try:
        code = app(standalone_mode=False)
    except ToriError as error:
        code = report_error(error, as_json="--json" in sys.argv)
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    except typer.Exit as error:
        code = error.exit_code
    except Exception as error:
        code = _usage_or_internal(error)
    if code == EXIT_INTERRUPTED:
        err.print("tori: interrupted; what was acknowledged is kept, run the same command again to go on.")
    sys.exit(code if isinstance(code, int) else 0)


def _usage_or_internal(error: Exception) -> int:
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        err.print(f"tori: {error.format_message()}")
        err.print("Try `tori --help`.")
        return int(error.exit_code)
    err.print_exception()
    err.print("tori: this is a defect in TORI; please report the lines above.")
    return EXIT_INTERNAL
