#!/usr/bin/env python3
"""Walk simulated worlds: the in-process runtime over a disk, a clock, a network and processes that fail as a seed decides.

    scripts/simulate.py --steps 1000000 --seed 1                  a campaign of 1,000 worlds
    scripts/simulate.py --steps 1000 --seed 42 --seeds 1          one world, with its story
    scripts/simulate.py --steps 100000 --seed 1 --jobs 2 --json   steps, violations, digest, story
    scripts/simulate.py --steps 1000000 --world nodes             two nodes and what is between them (a fifth of the usual worlds)
    scripts/simulate.py --steps 1000000 --world scheduler         the scheduler alone, with its executor and its shell

The same arguments give the same output, byte for byte. Exit code 1: a promise was broken; the report says how to see it again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

if __name__ in {"__main__", "__mp_main__"}:  # run as a script: the repository is not on the path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.sim.campaign import KINDS, Report, simulate
from tests.sim.world import Outcome

SHOWN_VIOLATIONS = 10
WORLDS_A_LINE = 50
"""Worlds between two lines of progress on standard error."""


def main(arguments: list[str] | None = None) -> int:
    """Run the campaign that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=100_000, help="actions in all worlds together (default 100,000)")
    parser.add_argument("--seed", type=int, default=1, help="what everything follows from (default 1)")
    parser.add_argument("--seeds", type=int, default=0, help="worlds (default: one for 1,000 steps, at least 200)")
    parser.add_argument("--jobs", type=int, default=1, help="processes; the report does not depend on it (default 1)")
    parser.add_argument("--world", choices=sorted(KINDS), default="system", help="what is simulated (default system)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    if min(options.steps, options.jobs) < 1 or options.seeds < 0:
        parser.error("--steps and --jobs begin at 1, --seeds at 0")
    chosen = {"worlds": options.seeds, "jobs": options.jobs, "kind": options.world}
    report = simulate(options.steps, options.seed, progress=_tell, **chosen)
    print(_as_json(report) if options.json else _as_text(report))
    return 1 if report.violations else 0


def _tell(done: int, count: int, outcome: Outcome) -> None:
    if outcome.violation:
        print(f"seed {outcome.seed}, step {outcome.steps}: {outcome.violation}", file=sys.stderr)
    if done % WORLDS_A_LINE == 0 and done < count:
        print(f"{done:,} of {count:,} worlds", file=sys.stderr, flush=True)


def _as_json(report: Report) -> str:
    violations = [violated._asdict() for violated in report.violations]
    return json.dumps(report._asdict() | {"violations": violations})


def _as_text(report: Report) -> str:
    lines = list(report.story) if report.violations or report.worlds == 1 else []
    lines += [f"{report.steps:,} steps in {report.worlds:,} worlds, {len(report.violations)} violations"]
    lines += [", ".join(f"{kind} {count:,}" for kind, count in report.counts.items())]
    for violated in report.violations[:SHOWN_VIOLATIONS]:
        lines += [f"seed {violated.seed}, step {violated.step}: {violated.what}", f"  again: {violated.replay}"]
    return "\n".join([*lines, f"digest {report.digest}"])


if __name__ == "__main__":
    sys.exit(main())
