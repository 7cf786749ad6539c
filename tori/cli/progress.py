"""Progress of an ingest, with rate and time left; on standard error, so that output stays clean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tori.cli.session import err
from tori.feed import FeedReport
from tori.sources import Source


@contextmanager
def feeding(source: Source, *, quiet: bool) -> Iterator[Callable[[FeedReport], None]]:
    """Yield what to call after every batch."""
    if quiet:
        yield lambda _: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[done]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=not err.is_terminal) as bar:
        task = bar.add_task("reading", total=source.total(), done="")

        def update(report: FeedReport) -> None:
            seconds = bar.tasks[0].elapsed or 0.001
            done = (
                f"{report.documents:,} documents, {report.characters / 1e6:.1f} MB, {report.documents / seconds:,.0f}/s"
            )
            waits = f", waiting: {report.waiting}" if report.waiting else ""
            bar.update(task, completed=source.position, done=done + waits)

        yield update
