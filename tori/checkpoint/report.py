"""The events that tell of checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tori.checkpoint.manifest import Manifest
from tori.checkpoint.store import Problem
from tori.events.system import CheckpointCreated, CheckpointLoaded, StateCorrupted, StateRecovered
from tori.journal.scrub import Damage


def created(manifest: Manifest, root: Path) -> CheckpointCreated:
    """Return the event of a checkpoint that was saved."""
    path = str(root / manifest.checkpoint_id)
    return CheckpointCreated(
        manifest.checkpoint_id, tuple(sorted(manifest.modules)), manifest.size_bytes, path, manifest.digest
    )


def loaded(manifest: Manifest, module: str) -> CheckpointLoaded:
    """Return the event of a module that started from a checkpoint."""
    part = manifest.modules[module]
    return CheckpointLoaded(manifest.checkpoint_id, (module,), part.size_bytes, part.file, part.sha256)


def corrupted(problem: Problem) -> StateCorrupted:
    """Return the event of something that failed its checksum; ``path`` says where it was put, ``digest`` what is wrong."""
    modules = (problem.module,) if problem.module else ()
    return StateCorrupted(problem.checkpoint_id, modules, 0, problem.path, problem.reason)


def damaged(damage: Damage) -> StateCorrupted:
    """Return the event of damage in a journal; ``path`` says where it is, ``digest`` what is wrong and how much cannot be read."""
    lost = "an unknown number of entries" if damage.entries < 0 else f"{damage.entries} entries"
    first = "" if damage.first_sequence < 0 else f" from sequence {damage.first_sequence} on"
    return StateCorrupted(
        "",
        (damage.journal,),
        damage.end - damage.offset,
        f"journals/{damage.journal}/{damage.segment}",
        f"journal {damage.journal}, offset {damage.offset}: {damage.reason}; {lost}{first} cannot be read",
    )


def recovered(problems: Sequence[Problem], module: str) -> StateRecovered:
    """Return the event of a module that started from something older, because of ``problems``."""
    return StateRecovered(problems[0].checkpoint_id if problems else "", (module,))
