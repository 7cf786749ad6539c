"""``tori submit ingest | ask | quiesce | status | logs | list | cancel``: from a machine that knows only an address and a token."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from tori.cli.session import JsonOption, backend, err, out, positive, print_json
from tori.client import JobPort
from tori.errors import BadInput
from tori.sources import open_source
from tori.sources.package import MAX_PACKAGE_BYTES, SUFFIX, pack

FOLLOW_S = 0.5
SHOWN_REFUSALS = 20

submit_app = typer.Typer(
    help="Work with a TORI elsewhere, through Ray Jobs: an address and a token are enough.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
DashboardOption = Annotated[
    str, typer.Option("--address", help="The cluster's dashboard, such as http://HEAD:8265.", show_default=False)
]
TokenOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help="File with the cluster's token (default: RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN).",
        show_default=False,
    ),
]
DetachOption = Annotated[bool, typer.Option("--detach", help="Print the job's id and return; do not wait for its end.")]
JobArgument = Annotated[str, typer.Argument(help="Id of a job, as submit printed it.")]


def open_jobs(address: str, token_file: Path | None) -> JobPort:
    """Return the jobs of the cluster at ``address``; raises BadInput for a token file that cannot be read."""
    path = token_file or (Path(p) if (p := os.environ.get("RAY_AUTH_TOKEN_PATH")) else None)
    token = ""
    if path is not None:
        try:
            token = path.expanduser().read_text().strip()
        except OSError as error:
            raise BadInput(
                f"the token file {path} cannot be read: {error.strerror}.",
                remedy="Copy ray_token from the head's home.",
            ) from error
    return backend().jobs(address, token)


@submit_app.command("ingest")
def submit_ingest(
    source: Annotated[str, typer.Argument(help="A folder or file here, read here; as for tori ingest.")],
    address: DashboardOption,
    wait: Annotated[bool, typer.Option("--wait", help="Let the job end only after quiesce.")] = False,
    detach: DetachOption = False,
    max_mb: Annotated[int, typer.Option("--max-mb", help="Largest package, in MiB.")] = MAX_PACKAGE_BYTES >> 20,
    token_file: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read documents here, carry them there, and show how they are taken; exits with the job's code."""
    opened = open_source(source)
    jobs = open_jobs(address, token_file)
    with tempfile.TemporaryDirectory(prefix="tori-submit-") as folder:
        package = Path(folder) / f"documents{SUFFIX}"
        manifest = pack(opened, package, positive("--max-mb", max_mb) << 20)
        for sentence in manifest.refusals[:SHOWN_REFUSALS]:
            err.print(f"[yellow]refused[/] {escape(sentence)}")
        if not as_json:
            size = package.stat().st_size
            err.print(f"[dim]{manifest.documents:,} documents, {size / 1e6:.1f} MB, to {escape(address)}[/]")
        job_id = jobs.submit(["ingest", package.name, *(["--wait"] if wait else [])], Path(folder))
    finish(jobs, job_id, detach=detach, as_json=as_json)


@submit_app.command("ask")
def submit_ask(
    question: Annotated[str, typer.Argument(help="A question in plain words.")],
    address: DashboardOption,
    top: Annotated[int, typer.Option("--top", help="How many answers.")] = 5,
    token_file: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the memory there; every answer quotes its source."""
    if not question.strip():
        raise BadInput("the question is empty.", remedy='Write it in quotes: tori submit ask "why ..." --address ...')
    words = ["ask", question, "--top", str(positive("--top", top)), *(["--json"] if as_json else [])]
    jobs = open_jobs(address, token_file)
    finish(jobs, jobs.submit(words), detach=False, as_json=False)


@submit_app.command("quiesce")
def submit_quiesce(
    address: DashboardOption, detach: DetachOption = False, token_file: TokenOption = None, as_json: JsonOption = False
) -> None:
    """Let everything settle there, run one full pass of every scan, and print the digest."""
    jobs = open_jobs(address, token_file)
    finish(jobs, jobs.submit(["quiesce"]), detach=detach, as_json=as_json)


@submit_app.command("status")
def submit_status(
    job_id: JobArgument, address: DashboardOption, token_file: TokenOption = None, as_json: JsonOption = False
) -> None:
    """Show how a job is."""
    view = open_jobs(address, token_file).view(job_id)
    if as_json:
        print_json(msgspec.to_builtins(view))
    else:
        out.print(f"{view.job_id}  {view.state}  {escape(view.message)}")


@submit_app.command("list")
def submit_list(address: DashboardOption, token_file: TokenOption = None, as_json: JsonOption = False) -> None:
    """Show the jobs the cluster knows."""
    views = open_jobs(address, token_file).list()
    if as_json:
        print_json({"jobs": msgspec.to_builtins(views)})
        return
    for view in views:
        out.print(f"{view.job_id}  {view.state:10} {escape(view.command)}")


@submit_app.command("logs")
def submit_logs(
    job_id: JobArgument,
    address: DashboardOption,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on until the job ends; exit with its code.")
    ] = False,
    token_file: TokenOption = None,
) -> None:
    """Show what a job has said."""
    jobs = open_jobs(address, token_file)
    if follow:
        raise typer.Exit(watch(jobs, job_id))
    out.print(escape(jobs.logs(job_id)), end="")


@submit_app.command("cancel")
def submit_cancel(
    job_id: JobArgument, address: DashboardOption, token_file: TokenOption = None, as_json: JsonOption = False
) -> None:
    """End a job; what it had taken stays, and the same submit again goes on from there."""
    was_running = open_jobs(address, token_file).cancel(job_id)
    if as_json:
        print_json({"job_id": job_id, "cancelled": was_running})
    else:
        out.print(f"{job_id} {'is being cancelled.' if was_running else 'had ended.'}")


def finish(jobs: JobPort, job_id: str, *, detach: bool, as_json: bool) -> None:
    """Say which job it is; unless detached, show what it says and exit with its code."""
    if detach:
        if as_json:
            print_json({"job_id": job_id})
        else:
            out.print(job_id)
        return
    err.print(f"[dim]job {job_id}; tori submit cancel {job_id} ends it[/]")
    code = watch(jobs, job_id, quiet=as_json)
    if as_json:
        print_json(msgspec.to_builtins(jobs.view(job_id)) | {"log": jobs.logs(job_id)})
    if code:
        raise typer.Exit(code)


def watch(jobs: JobPort, job_id: str, *, quiet: bool = False) -> int:
    """Print what a job says until it ends; return its exit code."""
    shown = 0
    while True:
        view = jobs.view(job_id)
        said = jobs.logs(job_id)
        if not quiet and len(said) > shown:
            out.print(escape(said[shown:]), end="")
            shown = len(said)
        if view.exit_code is not None:
            if view.exit_code and view.message and not quiet:
                err.print(f"[red]job {job_id} {view.state}[/]: {escape(view.message.splitlines()[-1])}")
            return view.exit_code
        time.sleep(FOLLOW_S)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(submit_app, name="submit")
