"""``python -m actors``: what a Ray job runs on the cluster, on a node with a home.

python -m actors ingest documents.tori.zip [--wait]     feed a package, saying how far it is
python -m actors ship jobs.tori.code                    take tasks in that were shipped
python -m actors ask QUESTION ...                       any command of ``tori``
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from actors.backend import RayBackend
from tori.cli.main import main as tori
from tori.cli.session import report_error, settings_of
from tori.errors import BadInput, ToriError
from tori.feed import FeedReport, feed
from tori.scheduler.shipped import BUNDLE_SUFFIX
from tori.sources.package import SUFFIX, Package

SAY_EVERY_S = 1.0
SHOWN_REFUSALS = 20


def ingest(path: Path, *, wait: bool) -> None:
    """Feed a package into the system of this node; prints a line a second, and what came of it."""
    package = Package(path)
    said = time.monotonic()

    def progress(report: FeedReport) -> None:
        nonlocal said
        if time.monotonic() - said >= SAY_EVERY_S:
            said = time.monotonic()
            say(f"{report.documents:,} of {package.total():,} documents, {report.documents / report.seconds:,.0f}/s")

    client = RayBackend().connect(settings_of(None), None)
    try:
        report = feed(client, package, progress)
        for sentence in report.refusals[:SHOWN_REFUSALS]:
            say(f"refused: {sentence}")
        say(
            f"{report.accepted:,} documents taken, {report.duplicates:,} known already, {report.refused:,} refused "
            f"in {report.seconds:.1f} s."
        )
        if wait:
            say(f"settled; digest {client.quiesce()['digest']}")
    finally:
        client.close()
    if not report.documents:
        raise BadInput(f"none of the {report.refused} inputs could be taken.", remedy="The reasons are above.")


def ship(path: Path) -> None:
    """Have the system of this node take a bundle of tasks in; says which they are."""
    client = RayBackend().connect(settings_of(None), None)
    try:
        found = client.ship(path.read_bytes(), path.name.removesuffix(BUNDLE_SUFFIX))
    finally:
        client.close()
    say(f"{', '.join(found['tasks'])}: taken in, code {found['sha256'][:12]}.")


def say(line: str) -> None:
    """Print one line at once: whoever watches the job reads it."""
    print(line, flush=True)  # noqa: T201  # a job's output is its log


def main() -> None:
    """Run what the arguments say; exits like ``tori``."""
    words = sys.argv[1:]
    packages = [word for word in words[1:] if word.endswith(SUFFIX)]
    is_shipment = words[:1] == ["ship"] and len(words) == 2
    if not is_shipment and (words[:1] != ["ingest"] or not packages):
        tori()
        return
    try:
        if is_shipment:
            ship(Path(words[1]))
        else:
            ingest(Path(packages[0]), wait="--wait" in words)
    except ToriError as error:
        sys.exit(report_error(error, as_json=False))


if __name__ == "__main__":
    main()
