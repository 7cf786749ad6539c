"""Break a running TORI on purpose and check what it promised: ``chaos.py --faults kill_module,kill_relay --count 3 --seed 1 --json``.

A real system on Ray is put under load in a home of its own, faults are done one after another in an order that the seed gives,
then the mind is quiesced, compared with one that nobody disturbed, started cold, read back and judged by the checker of
``tests/chaos``. Exit code 1 when a set is not empty, a bound was missed or a digest differs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and say by the exit code whether all went well."""
    from tests.chaos.nemesis import KINDS

    parser = argparse.ArgumentParser(description="Break a running TORI on purpose and check what it promised.")
    parser.add_argument("--faults", default="kill_module,kill_relay,kill_orchestrator", help=", ".join(KINDS))
    parser.add_argument("--count", type=int, default=1, help="how often each fault is done")
    parser.add_argument("--seed", type=int, default=0, help="order and victims follow from it")
    parser.add_argument("--documents", type=int, default=90, help="documents a client puts in, over and over")
    parser.add_argument("--slots", type=int, default=2, help="client processes that ingest")
    parser.add_argument("--rpc-failures", action="store_true", help="let Ray lose and repeat calls all the time")
    parser.add_argument("--keep", metavar="DIR", help="keep home and history here")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    kinds = [kind for kind in options.faults.split(",") if kind]
    unknown = sorted(set(kinds) - KINDS.keys())
    if unknown:
        parser.error(f"unknown faults {', '.join(unknown)}; known: {', '.join(KINDS)}")
    folder = Path(options.keep or tempfile.mkdtemp(prefix="tori-chaos-"))
    try:
        return _run(folder, kinds, options)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def _run(folder: Path, kinds: Sequence[str], options: argparse.Namespace) -> int:
    from tests.chaos.campaign import RPC_FAILURES, run

    os.environ["RAY_gcs_storage"] = "rocksdb"
    if options.rpc_failures:
        os.environ["RAY_testing_rpc_failure"] = RPC_FAILURES
    report = run(
        folder,
        dict.fromkeys(kinds, options.count),
        seed=options.seed,
        documents=options.documents,
        slots=options.slots,
    )
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
