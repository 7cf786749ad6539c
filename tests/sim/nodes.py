"""A world of two nodes: every module lives on one of them, and follows the journals of the other through mirrors there.

    head                                     worker
    journals of its modules ──▶ relay ══════▶ relay ──▶ mirrors, followed by its modules
    mirrors ◀────────────────── relay ◀══════ relay ◀── journals of its modules

Each node has a disk, a power supply and a clock of its own, and between the relays lies a wire that delays, loses, doubles, reorders
and damages what it carries, and breaks in one direction or in both. All that may happen to one node happens here too.
"""

from __future__ import annotations

import random
from typing import ClassVar

from tests.sim.files import Process
from tests.sim.incident import Incidents
from tests.sim.mirror import MirrorChecker
from tests.sim.network import Message, Network
from tests.sim.node import HOME, Node
from tests.sim.plan import FAULTS, Plan
from tests.sim.relay import Ask, Broken, Lines, Relay, Sent, Taken
from tests.sim.story import Violation
from tests.sim.system import System
from tests.sim.world import World
from tori.clock import VirtualClock
from tori.errors import ToriError
from tori.journal.ownership import create_journal
from tori.modules.open import journal_directory
from tori.modules.registry import FOLLOWS

WIRE_FAULTS = {"cut_wire": 2.0, "resubscribe": 2.0, "relay_fuse": 4.0, "relay_crash": 3.0}
"""What may befall relays and what is between them, and how much more often it strikes than other faults."""
MOST_TURNS = 64
"""Of everybody, between two rounds of work while a world settles."""


PATIENCE_S = 60.0
"""How long a reader waits for a sign of life while a world settles, in which time passes in large steps."""
DEADLY = 0.5
"""Share of a disk's failures that a relay does not outlive: the next one finds what the cache still shows."""


class NodeClock(VirtualClock):
    """The clock of one node: its wall clock is set, and runs, as it likes."""

    def __init__(self, base: VirtualClock, drift: float) -> None:
        super().__init__()
        self._base = base
        self._drift = drift
        self._offset_ns = 0

    def wall_ns(self) -> int:
        return self._base.wall_ns() + self._offset_ns + int(self._base.monotonic_ns() * self._drift)

    def monotonic_ns(self) -> int:
        return self._base.monotonic_ns()

    def advance(self, seconds: float) -> None:
        self._base.advance(seconds)

    def jump_wall(self, seconds: float) -> None:
        self._offset_ns += round(seconds * 1e9)


def draw_lines(rng: random.Random) -> Lines:
    """Return what the streams of one world are like."""
    return Lines(
        loss=rng.choice((0.0, 0.02, 0.1)),
        doubling=rng.choice((0.0, 0.02, 0.1)),
        damage=rng.choice((0.0, 0.02, 0.1)),
        max_delay_ms=rng.choice((1, 20, 200)),
        is_ordered=rng.random() < 0.7,
        silence_s=rng.choice((0.5, 1.0, 6.0)),
        max_stream_s=rng.choice((1.0, 10.0, 600.0)),
        drift=rng.choice((0.0, 0.0, 0.001, -0.1)),
    )


class WireIncidents(Incidents):
    """What may befall two nodes."""

    world: NodesWorld

    def repair(self) -> None:
        super().repair()
        self.heal_wire()
        self.world.wire.loss = self.world.wire.doubling = 0.0
        self.world.wire.is_ordered = True
        self.world.lines = self.world.lines._replace(damage=0.0, silence_s=PATIENCE_S, max_stream_s=10 * PATIENCE_S)
        for relay in self.world.relays.values():
            relay.lines = self.world.lines
            relay.break_off("repair")

    def _cut_wire(self) -> None:
        """Nothing passes from one node to the other, or in both directions."""
        one, other = (node.name for node in self.world.system.nodes)
        ways = self.world.rng.choice((((one, other),), ((other, one),), ((one, other), (other, one))))
        self.world.wire.blocked = frozenset(ways)
        self.world.story.tell("cut wire", " ".join(f"{a}>{b}" for a, b in ways))
        self._last("cut_wire")

    def heal_wire(self) -> None:
        """End a cut of the wire."""
        self._ends.pop("cut_wire", None)
        self.world.wire.blocked = frozenset()

    _end_cut_wire = heal_wire

    def _resubscribe(self) -> None:
        """A reader gives its stream up and asks for another one."""
        relay = self._relay()
        if relay is not None:
            self.world.story.tell("resubscribe", relay.node.name)
            relay.break_off("resubscribed")

    def _relay_fuse(self) -> None:
        relay = self._relay()
        if relay is not None:
            fault = self.world.rng.choice(("crash", "cut", "fail", "fail", "refuse", "short", "pause"))
            self._light(relay.process, fault, self.world.rng.randint(1, 8))

    def _relay_crash(self) -> None:
        relay = self._relay()
        if relay is not None:
            self.world.story.tell("kill", f"relay of {relay.node.name}")
            relay.process.die()

    def _relay(self) -> Relay | None:
        relays = [relay for relay in self.world.relays.values() if relay.process.is_alive]
        relays = [relay for relay in relays if relay.process not in self.world.busy]
        return self.world.rng.choice(relays) if relays else None

    def cut_power(self, node: Node) -> None:
        super().cut_power(node)
        self.world.mirrors.power_was_cut(node)


class NodesWorld(World):
    """Everything one seed makes, on two nodes."""

    faults: ClassVar[tuple[str, ...]] = (*FAULTS, *WIRE_FAULTS)
    work_shares: ClassVar[dict[str, float]] = World.work_shares | {"carry_one": 0.9}
    incidents: WireIncidents

    def __init__(self, seed: int, *, real_share: float = 0.04) -> None:
        super().__init__(seed, real_share=real_share)
        self.wire = Network(self.rng, self.clock.monotonic_ns)
        self.wire.loss, self.wire.doubling = self.lines.loss, self.lines.doubling
        self.wire.max_delay_ms, self.wire.is_ordered = self.lines.max_delay_ms, self.lines.is_ordered
        self.relays: dict[str, Relay] = {}
        """By node: the relay that lives there, or lived."""
        self.mirrors = MirrorChecker(self.system.nodes, self.checker)
        self._streams = 0

    def draw(self, real_share: float) -> Plan:
        plan = super().draw(real_share)
        self.lines = draw_lines(self.rng)
        rates = [(kind, rate * WIRE_FAULTS.get(kind, 1.0)) for kind, rate in plan.rates]
        return plan._replace(layout="actors", rates=tuple(rates))

    def build(self) -> System:
        """Return two nodes: the documents come in at the head, every other module lives on either."""
        head = Node(self.plan, self.rng, NodeClock(self.clock, 0.0), "head")
        worker = Node(self.plan, self.rng, NodeClock(self.clock, self.lines.drift), "worker", head.trouble)
        first, *others = head.names
        places = {first: head} | {name: self.rng.choice((head, worker)) for name in others}
        if worker not in places.values():
            places[self.rng.choice(others)] = worker
        ids = {name: _make(node, name) for name, node in places.items()}
        for node in (head, worker):
            followed = {journal for name, at in places.items() if at is node for journal in FOLLOWS[name]}
            wanted = [name for name, at in places.items() if at is not node and (node is head or name in followed)]
            node.mirrored = {name: ids[name] for name in wanted}
            node.wait = self.wait_for_others
            node.disk.sync()
        return System((head, worker), places, self.rng)

    def befall(self) -> WireIncidents:
        return WireIncidents(self)

    def processes(self) -> list[Process]:
        return super().processes() + [r.process for r in self.relays.values() if r.process.is_alive]

    def next_stream(self) -> int:
        self._streams += 1
        return self._streams

    def look(self) -> None:
        super().look()
        for relay in self.relays.values():
            if relay.process.is_alive and relay.process not in self.busy:
                self.mirrors.opened(relay.node, relay.receiver.positions())
        self.mirrors.observe()
        self.mirrors.validate()

    # -- the relays --------------------------------------------------------------------------------------------------

    def start_relay(self, node: Node) -> None:
        """Begin a new life of a node's relay."""
        process = node.cpu.spawn(f"relay of {node.name}")
        peer = next(other.name for other in self.system.nodes if other is not node)
        relay = Relay(node, peer, process, self.wire, self.lines, self.next_stream)
        self.incidents.prime(process)
        done, _ = self.ask(process, f"start of the {process.name}", relay.want, dies_of_errors=True)
        if done:
            self.relays[node.name] = relay
            self.story.tell("relay", f"{node.name} as {process.pid}")

    def carry_one(self) -> bool:
        """Let one relay do one thing; return whether anything moved."""
        message = self.wire.next_due()
        if message is not None:
            self.hand_over(message)
            return True
        return self.turn(self.system.any())

    def turn(self, node: Node) -> bool:
        """Let the relay of a node do what is due; one that is dead is started."""
        relay = self.relays.get(node.name)
        if relay is None or not relay.process.is_alive:
            self.start_relay(node)
            return True
        if relay.process in self.busy:
            return False
        if not relay.stream:
            relay.rots = self.story.counts["rot"] - self.checker.is_rotten
        done, moved = self.ask(relay.process, f"turn of the {relay.process.name}", relay.turn, dies_of_errors=True)
        return moved if done else True

    def hand_over(self, message: Message) -> None:
        """Give a relay what the wire brought; what nobody takes is lost."""
        relay = self.relays.get(message.receiver)
        if relay is None or not relay.process.is_alive or relay.process in self.busy:
            self.wire.disturbed[message.sender, message.receiver] += 1
            return
        body = message.body
        if isinstance(body, Taken):
            relay.taken(body)
        elif isinstance(body, Ask):
            self.story.tell("stream", f"{body.stream} from {message.receiver}")
            self.ask(relay.process, f"stream of {message.sender}", lambda: relay.serve(body), dies_of_errors=True)
        else:
            self.take(relay, self._worn(body, message))

    def _worn(self, sent: Sent, message: Message) -> Sent:
        """Return what is left of a parcel after its way."""
        if sent.parcel is None or not sent.parcel.frames or self.rng.random() >= self.lines.damage:
            return sent
        frames = bytearray(sent.parcel.frames)
        frames[self.rng.randrange(len(frames))] ^= 1 << self.rng.randrange(8)
        self.wire.disturbed[message.sender, message.receiver] += 1
        self.story.tell("damaged parcel", sent.parcel.journal)
        return sent._replace(parcel=sent.parcel._replace(frames=bytes(frames)))

    def take(self, relay: Relay, sent: Sent) -> None:
        """Have a relay take a parcel; a stream that breaks off must have a cause."""
        what = f"parcel for the {relay.process.name}"
        parcel = sent.parcel
        if parcel is not None and sent.stream == relay.stream and parcel.error is not None:
            self.story.tell("refused", f"{parcel.journal}: {parcel.error}")
            self._explain(relay, parcel.error)
        done, broken = self.ask(relay.process, what, lambda: relay.take(sent), dies_of_errors=True)
        if done and parcel is not None and parcel.frames:
            self.story.tell("parcel", f"{parcel.journal} {parcel.offset} {len(parcel.frames)}")
        if isinstance(broken, Broken):
            self.story.tell("broken", f"{relay.node.name}: {broken.why}: {broken.error}")
            if broken.error is not None:
                self._explain(relay, broken.error)
                if "errno" in broken.error.fields and self.rng.random() < DEADLY:
                    self.story.tell("kill", f"relay of {relay.node.name}, whose disk failed")
                    relay.process.die()

    def _explain(self, relay: Relay, error: ToriError) -> None:
        """Raise Violation unless something that was done to a stream explains its end."""
        way = next(n.name for n in self.system.nodes if n is not relay.node), relay.node.name
        is_disturbed = self.wire.disturbed[way] != relay.disturbed or not self.wire.is_ordered
        has_rotted = self.checker.is_rotten or self.story.counts["rot"] != relay.rots
        if not (is_disturbed or relay.process.has_suffered or has_rotted):
            raise Violation(f"the stream to {relay.node.name} breaks without a cause: {type(error).__name__}: {error}")

    # -- waiting and settling ----------------------------------------------------------------------------------------

    def wait_for_others(self, seconds: float) -> None:
        """A module waits for an event of the other node: the relays go on meanwhile."""
        waiting = self.busy[-1]
        self.clock.advance(1.0)
        if self.rng.random() < 0.2:
            self.incidents.heal_wire()  # it lasts for some steps, and many seconds pass in this one
        for _ in range(8):
            self.carry_one()
        waiting.begin("wait")  # the machine may have lost its power meanwhile

    def carry(self) -> bool:
        has_moved = False
        for _ in range(MOST_TURNS):
            message = self.wire.next_due()
            moved = message is not None
            if message is not None:
                self.hand_over(message)
            for node in self.system.nodes:
                moved = self.turn(node) or moved
            if not moved:
                break
            has_moved = True
        return has_moved

    @property
    def is_quiet(self) -> bool:
        return super().is_quiet and self.mirrors.is_complete

    def settle(self) -> str:
        digest = super().settle()
        self.mirrors.reread()
        if not self.mirrors.is_complete:
            raise Violation("a mirror does not hold all of its source")
        return digest


def _make(node: Node, name: str) -> bytes:
    directory = journal_directory(HOME, name)
    return create_journal(directory, files=node.watcher.files)
