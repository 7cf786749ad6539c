"""A fuzz run over shadow copies of the live modules: snapshots and a sample of events go in, findings come out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
import ray

from actors.cast import CLIENTS
from actors.output import Attempt
from actors.scan import Work, fan_out
from tori.modules.fuzzing.target import FuzzTarget
from tori.modules.host import HostSnapshot
from tori.modules.registry import FULL_PASS, PATHS
from tori.scheduler.spec import Resources

SAMPLED_DOCUMENTS = 16
SAMPLED_EVENTS = 300


def fuzz(
    handles: Mapping[str, Any],
    resources: Resources,
    shards: int,
    codes: Mapping[str, str] | None = None,
    attempt: Attempt | None = None,
) -> Work:
    """Begin a run and return it; the seed follows from the states, so a run can be repeated.

    ``codes``: of the modules that were reloaded; the copies must run the same. ``attempt``: whose log it is what they print.
    """
    names = [name for name, _ in FULL_PASS if name in handles]
    snapshots = ray.get([handles[name].snapshot.remote() for name in names])
    events = ray.get(handles[CLIENTS].sample.remote(SAMPLED_DOCUMENTS, SAMPLED_EVENTS))
    seed = int.from_bytes(hashlib.sha256(b"".join(snapshots)).digest()[:4], "big")
    targets = [
        FuzzTarget(
            name,
            PATHS[name],
            msgspec.msgpack.decode(data, type=HostSnapshot).state,
            tuple(events),
        )
        for name, data in zip(names, snapshots, strict=True)
    ]
    plan = handles["fuzzing"].prepare_targets.remote(targets, seed)
    code = ",".join(f"{name}={one}" for name, one in sorted((codes or {}).items()))
    return fan_out("fuzzing", "concept_fuzz_test", plan, resources, shards, code=code, attempt=attempt)
