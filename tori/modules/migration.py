"""Snapshots of older code: brought up to the state version of the code that runs, one version at a time."""

from __future__ import annotations

import msgspec

from tori.errors import JournalTruncated
from tori.modules.base import Module
from tori.modules.host_state import HostSnapshot


def migrated(module: Module, snapshot: HostSnapshot, *, first_offset: int) -> HostSnapshot | None:
    """Return ``snapshot`` as the code of ``module`` takes it; None = replay the whole journal instead.

    ``first_offset``: where the module's own journal begins now. When an upgrade is missing and the journal has lost its first segments,
    nothing is left to start from: raises JournalTruncated naming the upgrade. What an upgrade raises is raised.
    """
    state, version, wanted = snapshot.state, snapshot.state_version, module.state_version
    while version < wanted and version in module.upgrades:
        state, version = module.upgrades[version](state), version + 1
    if version == wanted:
        return msgspec.structs.replace(snapshot, state=state, state_version=version)
    if first_offset == 0:
        return None
    newer = version > wanted
    raise JournalTruncated(
        f"the snapshot of {module.name} has state version {snapshot.state_version}, its code needs {wanted}"
        + (", which is older" if newer else f", and there is no upgrade from version {version}")
        + f"; its journal begins at offset {first_offset}, so it cannot be replayed from the beginning.",
        remedy="Go back to the code that wrote it."
        if newer
        else f"Add an upgrade from {version} to {module.name}'s upgrades.",
        journal=module.name,
        offset=first_offset,
    )
