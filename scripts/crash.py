"""Crash states by the ten thousand: the journal and the checkpoint store after power losses, torn writes and damage.

    python scripts/crash.py [--states N] [--flips N] [--steps N] [--seed S] [--json]

Exits 1 when anything promised was lost, anything was invented, or damage went unnoticed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.crash import campaign, damage
from tests.crash.campaign import Outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--states", type=int, default=10_000, help="crash states to sample, of journals and of checkpoints"
    )
    parser.add_argument("--flips", type=int, default=20_000, help="bits to flip in segments")
    parser.add_argument("--changes", type=int, default=10_000, help="bytes to change in checkpoints")
    parser.add_argument("--steps", type=int, default=3, help="longest script that is looked at exhaustively")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    chosen = parser.parse_args()
    campaigns: list[Callable[[], Outcome]] = [
        lambda: campaign.exhaustive(chosen.steps),
        campaign.take_overs,
        campaign.every_checkpoint_crash,
        lambda: campaign.sampled(chosen.states, chosen.seed),
        lambda: campaign.sampled_checkpoints(chosen.states, chosen.seed),
        damage.torn_tails,
        lambda: damage.flipped_bits(chosen.flips, chosen.seed),
        lambda: damage.changed_checkpoints(chosen.changes, chosen.seed),
    ]
    rows = []
    for run in campaigns:
        begun = time.perf_counter()
        outcome = run()
        row = {
            "name": outcome.name,
            "traces": outcome.traces,
            "states": outcome.states,
            "violations": len(outcome.violations),
            "seconds": round(time.perf_counter() - begun, 1),
            "stories": outcome.violations,
        }
        rows.append(row)
        if not chosen.json:
            print(
                "{name:32} {traces:6,} traces {states:8,} states {violations:3} violations {seconds:7.1f} s".format(
                    **row
                )
            )
            for story in outcome.violations:
                print(f"    {story}")
    total = sum(len(row["stories"]) for row in rows)
    if chosen.json:
        print(json.dumps({"campaigns": rows, "states": sum(r["states"] for r in rows), "violations": total}))
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
