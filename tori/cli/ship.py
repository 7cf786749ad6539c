"""``tori task ship``: tasks of a file here become tasks of a system there."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from tori.cli.session import HomeOption, JsonOption, backend, connected, out, print_json
from tori.cli.submit import DetachOption, TokenOption, finish, open_jobs


def task_ship(
    file: Annotated[Path, typer.Argument(help="A Python file with functions under @task(...). It is run here.")],
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            help="The cluster's dashboard, such as http://HEAD:8265; left out: the system of this home.",
            show_default=False,
        ),
    ] = None,
    detach: DetachOption = False,
    token_file: TokenOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Carry the tasks of a file to a system; they stay there over restarts. The same file again takes their place."""
    data = backend().pack(file)
    if address is None:
        with connected(home, None) as client:
            found = client.ship(data, file.stem)
        if as_json:
            print_json(found)
        else:
            out.print(f"{escape(', '.join(found['tasks']))}: taken in, code {found['sha256'][:12]}.")
        return
    from tori.scheduler.shipped import BUNDLE_SUFFIX

    jobs = open_jobs(address, token_file)
    with tempfile.TemporaryDirectory(prefix="tori-ship-") as folder:
        bundle = Path(folder) / f"{file.stem}{BUNDLE_SUFFIX}"
        bundle.write_bytes(data)
        job_id = jobs.submit(["ship", bundle.name], Path(folder))
    finish(jobs, job_id, detach=detach, as_json=as_json)
