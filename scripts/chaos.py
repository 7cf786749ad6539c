"""Break a running TORI on purpose and check what it promised: ``chaos.py --faults kill_module,kill_relay --count 3 --seed 1 --json``.

A real system on Ray is put under load in a home of its own, faults are done one after another in an order that the seed gives,
then the mind is quiesced, compared with one that nobody disturbed, started cold, read back and judged by the checker of
``tests/chaos``. Exit code 1 when a set is not empty, a bound was missed or a digest differs.
"""

from __future__ import annotations

import argparse
import math
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from tests.chaos.campaign import Report

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and say by the exit code whether all went well."""
    from tests.chaos.campaign import ALL_KINDS, KINDS, PROCESS_KINDS

    parser = argparse.ArgumentParser(description="Break a running TORI on purpose and check what it promised.")
    parser.add_argument("--faults", default="kill_module,kill_relay,kill_orchestrator", help=", ".join(ALL_KINDS))
    parser.add_argument("--count", type=int, default=1, help="how often each fault is done")
    parser.add_argument("--seed", type=int, default=0, help="order and victims follow from it")
    parser.add_argument("--documents", type=int, default=90, help="documents a client puts in, over and over")
    parser.add_argument("--slots", type=int, default=2, help="client processes that ingest")
    parser.add_argument("--rpc-publishes", type=int, default=0, help="let Ray lose calls until so many were answered")
    parser.add_argument("--pace", type=float, default=0.05, help="seconds between two calls of a client")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no fault after so long")
    parser.add_argument("--keep", metavar="DIR", help="keep home and history here")
    parser.add_argument("--without-ray", action="store_true", help="producer, module and observer as bare processes")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    kinds = [kind for kind in options.faults.split(",") if kind]
    known = PROCESS_KINDS if options.without_ray else KINDS
    unknown = sorted(set(kinds) - known.keys())
    if unknown:
        parser.error(f"unknown faults {', '.join(unknown)}; known: {', '.join(known)}")
    signal.signal(
        signal.SIGTERM, lambda number, frame: sys.exit(128 + number)
    )  # what was started is ended, what was mounted goes
    folder = Path(options.keep or tempfile.mkdtemp(prefix="tori-chaos-"))
    try:
        return _run(folder, kinds, options)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def _run(folder: Path, kinds: Sequence[str], options: argparse.Namespace) -> int:
    from tests.chaos.campaign import run, run_processes

    faults = dict.fromkeys(kinds, options.count)
    if options.without_ray:
        return _print(run_processes(folder, faults, seed=options.seed, limit_s=options.seconds), options)
    report = run(
        folder,
        faults,
        seed=options.seed,
        documents=options.documents,
        slots=options.slots,
        pace_s=options.pace,
        rpc_publishes=options.rpc_publishes,
        limit_s=options.seconds,
    )
    return _print(report, options)


def _print(report: Report, options: argparse.Namespace) -> int:
    """Print what a run showed; return the exit code."""
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(report)).decode())
        return 0 if report.is_good else 1
    for row in report.faults:
        print(
            "{kind:18} {count:3}  p50 {recovery_p50_s:7.3f} s  max {recovery_max_s:7.3f} s  bound {bound_s} s".format(
                **row
            )
        )
    print(report.story)
    print(f"digest as undisturbed: {report.digest_equal}, as read back: {report.read_back_equal}, {report.seconds} s")
    for failure in report.failures:
        print(f"FAILED {failure}")
    return 0 if report.is_good else 1


if __name__ == "__main__":
    raise SystemExit(main())
