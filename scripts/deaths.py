"""kill -9, again and again: ``deaths.py --orchestrator 50 --runs 100 --json``, ``deaths.py --modules 50 --json``.

``--orchestrator N``: the orchestrator dies N times, each time with --runs attempts under way of which --executing are executed at
least. No run may be lost, completed twice or executed twice at once (each attempt holds a lock that the kernel frees with its process).
One more of them is cancelled in the moment before each death, and may not begin again. Living actors are adopted, and documents are
taken all the time, through the orchestrator and past it.

``--modules N``: every module's process dies N times, two at a time, while documents come in; each is back in 6 s.

At the end journals are audited, and the digest has to be that of a mind nobody disturbed. Exit code 1: a promise was broken.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
OFTEN = 50


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and say by the exit code whether all promises were kept."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    folder = Path(options.keep or tempfile.mkdtemp(prefix="tori-deaths-"))
    try:
        reports = _run(folder, options)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(reports)).decode())
    else:
        for name, report in reports.items():
            print(name, *(f"  {key}: {value}" for key, value in msgspec.to_builtins(report).items()), sep="\n")
    return 0 if all(report.is_good for report in reports.values()) else 1


def _run(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    from tests.chaos.deaths import run_modules, run_orchestrator

    reports: dict[str, Any] = {}
    if options.orchestrator:
        reports["orchestrator"] = run_orchestrator(
            folder / "orchestrator",
            options.orchestrator,
            runs=options.runs,
            executing=options.executing,
            shortest_s=options.shortest,
            longest_s=options.longest,
            seed=options.seed,
        )
    if options.modules:
        reports["modules"] = run_modules(folder / "modules", options.modules, seed=options.seed)
    return reports


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orchestrator", type=int, nargs="?", const=OFTEN, metavar="N", help="its deaths (50)")
    parser.add_argument("--runs", type=int, default=100, help="runs in flight (default 100)")
    parser.add_argument("--executing", type=int, default=20, help="of them executed at each death (default 20)")
    parser.add_argument("--shortest", type=float, default=5.0, help="seconds an attempt takes at least (default 5)")
    parser.add_argument("--longest", type=float, default=25.0, help="and at most (default 25)")
    parser.add_argument("--modules", type=int, nargs="?", const=OFTEN, metavar="N", help="deaths of each module (50)")
    parser.add_argument("--seed", type=int, default=0, help="moments and victims follow from it")
    parser.add_argument("--keep", metavar="DIR", help="keep homes and lines here")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    if not options.orchestrator and not options.modules:
        parser.error("say who dies: --orchestrator, --modules")
    return options


if __name__ == "__main__":
    raise SystemExit(main())
