"""Every case, door by door."""

from __future__ import annotations

from tests.bad_input.case import Case
from tests.bad_input.doors import (
    batch,
    checkpoint,
    cloudevent,
    cluster,
    command,
    folder,
    git,
    home,
    journal,
    jsonl,
    pdf,
    settings,
    task,
)

DOORS = tuple(
    module.DOOR
    for module in (
        folder,
        jsonl,
        pdf,
        git,
        batch,
        cloudevent,
        command,
        task,
        settings,
        home,
        journal,
        checkpoint,
        cluster,
    )
)
CASES: tuple[Case, ...] = tuple(case for door in DOORS for case in door.cases)
