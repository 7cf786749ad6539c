"""The yardstick of a world: the same documents through a system in memory that nothing happens to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from tests.sim.story import Violation
from tests.sim.system import System
from tori.clock import VirtualClock
from tori.events.document import Document
from tori.events.mind import DocumentIngested
from tori.local import LocalSystem
from tori.modules.registry import FULL_PASS

if TYPE_CHECKING:
    from tests.sim.world import World


def full_pass(world: World) -> None:
    """Run one pass of every scan the modules know, as a quiesce does."""
    for name, task in FULL_PASS:
        one = world.system.get(name)
        if one is None or task not in one.host.module.tasks:
            continue
        module = one.host.module
        one.host.conclude(task, type(module).run(task, module.prepare(task)))
        for _ in range(10_000):
            world.clock.advance(0.5)
            is_carried = world.carry()
            if not sum(world.step(other) for other in world.system.names) and not is_carried and world.is_quiet:
                break
        else:
            raise Violation(f"the system did not settle after {task}")
        world.look()


def undisturbed(made: System, accepted: Sequence[DocumentIngested]) -> dict[str, Any]:
    """Return the section of every module after the same documents, in the same order, in peace."""
    clock = VirtualClock()
    with LocalSystem(modules=made.names, clock=clock, create=made.create, wait=clock.advance) as system:
        for payload in accepted:
            system.submit(msgspec.msgpack.encode([_document(payload)]))
            if not made.plan.is_real:
                system.pump()
        system.quiesce()
        sections = {name: host.module.section() for name, host in system.hosts.items()}
    return {name: section for name, section in sections.items() if section is not None}


def _document(p: DocumentIngested) -> Document:
    return Document(p.document_id, p.title, p.text, p.time_ns, p.source, p.thread, p.links, p.sections)
