"""One seed, one world: a node, its clients and the network between them, and a random walk of work and faults over it.

    seed ──▶ plan ──▶ actions, one a step ──▶ after each: observe, judge, validate
                                          └─▶ at the end: repair, settle, compare with an undisturbed run

Nothing in a world comes from the machine it runs on: time, randomness, ids, process numbers and the order of everything follow
from the seed.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from itertools import accumulate
from typing import Any, ClassVar, NamedTuple

from tests.sim.check import Checker
from tests.sim.client import Answer, Client, Request, claims_of
from tests.sim.files import Gone, Process
from tests.sim.incident import Incidents
from tests.sim.network import Network
from tests.sim.node import Node, Running
from tests.sim.plan import FAULTS, Plan, draw_plan
from tests.sim.settle import full_pass, undisturbed
from tests.sim.story import Story, Violation
from tests.sim.system import System
from tori.bus.producer import ProducerFenced, PublishReceipt, SequenceReused
from tori.clock import VirtualClock
from tori.errors import BadInput, JournalDamaged, JournalRefused, JournalTruncated, ToriError
from tori.events.document import Receipt

NODE = "node"
MAX_SETTLING = 5000


class Outcome(NamedTuple):
    """What became of a world."""

    seed: int
    steps: int
    digest: str
    """sha256 over its story, its disk and its mind."""
    violation: str
    story: list[str]
    counts: dict[str, int]


class World:
    """Everything one seed makes."""

    faults: ClassVar[tuple[str, ...]] = FAULTS
    work_shares: ClassVar[dict[str, float]] = {"ask_client": 0.2, "deliver": 0.3, "work": 0.5}
    """What happens when no fault does, by the method that does it."""

    def __init__(self, seed: int, *, real_share: float = 0.06) -> None:
        self.seed = seed
        self.rng = random.Random(f"tori {seed}")
        self.clock = VirtualClock()
        self.plan = self.draw(real_share)
        self.story = Story(self.clock.monotonic_ns)
        self.system = self.build()
        self.network = Network(self.rng, self.clock.monotonic_ns)
        self.network.loss, self.network.doubling = self.plan.loss, self.plan.doubling
        self.network.max_delay_ms = self.plan.max_delay_ms
        self.clients = {
            name: Client(name, self.rng, batch=self.plan.batch, is_real=self.plan.is_real)
            for name in (f"client-{i}" for i in range(self.plan.clients))
        }
        self.sent: set[tuple[str, str]] = set()
        self.checker = Checker(self.system, self.sent)
        self.incidents = self.befall()
        self.zombies: list[Running] = []
        self.busy: list[Process] = []
        """Processes in the middle of an operation: they stand still while others act."""
        self._weights = list(accumulate((*(rate for _, rate in self.plan.rates), *self.work_shares.values())))

    # -- what a world is made of -----------------------------------------------------------------------------------

    def draw(self, real_share: float) -> Plan:
        """Return the plan that the seed makes."""
        return draw_plan(self.rng, self.faults, real_share=real_share)

    def build(self) -> System:
        """Return the machines."""
        node = Node(self.plan, self.rng, self.clock)
        return System([node], dict.fromkeys(node.names, node), self.rng)

    def befall(self) -> Incidents:
        """Return what may happen to it."""
        return Incidents(self)

    def processes(self) -> list[Process]:
        """Return whom a fault may befall."""
        return [one.process for one in self.system.running.values()]

    # -- the walk --------------------------------------------------------------------------------------------------

    def run(self, steps: int) -> Outcome:
        """Walk ``steps`` actions, then settle; a violation ends the walk."""
        kind = "real modules" if self.plan.is_real else "small modules"
        self.story.tell(f"world of {kind}, {self.plan.layout}", str(self.plan._replace(rates=())))
        violation, digest = "", ""
        try:
            for self.story.step in range(1, steps + 1):
                self.act()
                self.look()
            digest = self.settle()
        except Violation as error:
            violation = str(error)
            self.story.tell("VIOLATION", violation)
        except Exception as error:
            error.add_note(f"in the world of seed {self.seed}, step {self.story.step}")
            raise
        total = hashlib.sha256(f"{self.story.digest()} {self.system.digest()} {digest}".encode()).hexdigest()
        lines = self.story.lines()
        return Outcome(self.seed, self.story.step, total, violation, lines, dict(self.story.counts))

    def act(self) -> None:
        """Take one action."""
        self.clock.advance(self.rng.random() * 0.03)
        at = self.rng.random() * self._weights[-1]
        kinds = len(self.plan.rates)
        index = next(i for i, bound in enumerate(self._weights) if at <= bound)
        if index < kinds:
            self.incidents.strike(self.plan.rates[index][0])
        else:
            getattr(self, list(self.work_shares)[index - kinds])()

    def look(self) -> None:
        """Bury the dead, then judge what the living and the journals show."""
        for name in self.system.bury_dead():
            self.story.tell("dead", name)
        self.checker.observe()
        self.checker.validate()

    def carry(self) -> bool:
        """Bring everything under way between nodes on its way; return whether something moved."""
        return False

    @property
    def is_quiet(self) -> bool:
        """Whether everybody has handled everything there is."""
        return not any(one.host.has_work or one.host.lag for one in self.system.running.values())

    def work(self) -> None:
        """Let one module take a batch; one that is down is started."""
        name = self.rng.choice(self.system.names)
        if name in self.system.running:
            self.step(name)
        elif self.rng.random() < 0.5:
            self.start(name)

    # -- asking processes ------------------------------------------------------------------------------------------

    def ask(self, process: Process, what: str, work: Callable[[], Any], *, dies_of_errors: bool) -> tuple[bool, Any]:
        """Have a process do something; return (done, result). Its death and its errors are told, and must have a cause."""
        self.busy.append(process)
        try:
            return True, work()
        except Gone as death:
            self.story.tell("gone", f"{what}: {death}")
            self.system.bury(process)
        except Violation:
            raise
        except (ToriError, OSError) as error:
            self.story.tell("error", f"{what}: {type(error).__name__}: {error}")
            self.explain(process, error)
            if dies_of_errors or not isinstance(error, JournalRefused):
                self.system.bury(process)  # a state that may be behind its own journal must not go on
        except Exception as error:
            raise Violation(f"{what}: {type(error).__name__}: {error}") from error
        finally:
            self.busy.remove(process)
        return False, None

    def explain(self, process: Process, error: Exception) -> None:
        """Raise Violation unless something that was done to the process explains its error."""
        if isinstance(error, JournalDamaged):
            is_explained = self.checker.is_rotten
        elif isinstance(error, BadInput | JournalTruncated):
            is_explained = False
        else:
            # Who was replaced may be fenced; who stands still while it makes a journal keeps all others from using it.
            is_explained = process.has_suffered or process in self.incidents.replaced or len(self.busy) > 1
        if not is_explained:
            raise Violation(f"{process.name} fails without a cause: {type(error).__name__}: {error}") from error

    def start(self, name: str) -> bool:
        """Start a module; return whether it lives."""
        use_snapshot = self.rng.random() < 0.7
        begun: list[Process] = []

        def prime(process: Process) -> None:
            begun.append(process)
            rivals = [other for other in self.busy if other.name == process.name]
            if rivals:  # one of them stands still while it starts or writes: either may find itself fenced
                self.incidents.replaced.update((process, *rivals))
            self.busy.append(process)
            self.incidents.prime(process)

        try:
            names = self.system.start(name, prime, use_snapshot=use_snapshot)
        except Violation:
            raise
        except Gone as death:
            self.story.tell("gone", f"{name} while it starts: {death}")
        except (ToriError, OSError) as error:
            self.story.tell("no start", f"{name}: {type(error).__name__}: {error}")
            self.explain(begun[0], error)
        except Exception as error:
            raise Violation(f"{name} while it starts: {type(error).__name__}: {error}") from error
        else:
            self.story.tell(
                "start", f"{', '.join(names)} as {begun[0].pid}{' from a snapshot' if use_snapshot else ''}"
            )
            return True
        finally:
            self.busy.remove(begun[0])
        return False

    def step(self, name: str) -> int:
        """Let a running module take one batch."""
        one = self.system.running[name]
        if one.process in self.busy:
            return 0
        limit = self.rng.randint(1, self.plan.events)
        done, handled = self.ask(one.process, f"step of {name}", lambda: one.host.step(limit), dies_of_errors=True)
        if handled:
            self.story.tell("step", f"{name} {handled}")
        return handled if done else 1

    # -- clients and the network -----------------------------------------------------------------------------------

    def ask_client(self, *, may_begin: bool = True) -> None:
        """Let one client send what it has to send."""
        client = self.rng.choice(list(self.clients.values()))
        request = client.act(self.clock.monotonic_ns(), may_begin=may_begin)
        if request is not None:
            self.sent.update(client.sent)
            self.network.send(client.name, NODE, request)
            self.story.tell("send", f"{client.name} {request.command} {request.number}")

    def deliver(self) -> bool:
        """Let one message arrive; return whether there was one."""
        message = self.network.next_due()
        if message is None:
            return False
        if isinstance(message.body, Request):
            one = self.system.get("clients")
            answer = self.serve(one, message.sender, message.body) if one is not None else None
            self.network.send(NODE, message.sender, answer or Answer(message.body.number, None))
        else:
            self.story.tell("answer", f"{message.receiver} {message.body.number} {_brief(message.body)}")
            self.clients[message.receiver].receive(message.body)
        return True

    def serve(self, one: Running, sender: str, request: Request) -> Answer | None:
        """Have a clients' module take a batch; what it acknowledges is checked at once."""
        if one.process in self.busy:
            return None
        what = f"{request.command} of {sender} {request.number}"

        def command() -> Answer:
            try:
                return Answer(request.number, one.host.command(request.command, request.arguments))
            except (ProducerFenced, SequenceReused):  # a copy that comes too late
                return Answer(request.number, is_refused=True)

        done, answer = self.ask(one.process, what, command, dies_of_errors=False)
        if not done:
            return None
        self.story.tell("late copy" if answer.is_refused else "ack", f"{what}: {_brief(answer)}")
        if not answer.is_refused:
            self.checker.acked(claims_of(request))
        return answer

    # -- the end ---------------------------------------------------------------------------------------------------

    def settle(self) -> str:
        """Repair everything, let everybody finish, and compare; return the digest of the mind."""
        self.incidents.repair()
        self.story.tell("settle")
        busy = True
        for _ in range(MAX_SETTLING):
            self.clock.advance(0.05 if busy else 1.0)  # what is held after deaths waits for minutes
            self.ask_client(may_begin=False)
            busy = self.carry()
            busy = self.deliver() or busy or any(c.is_waiting for c in self.clients.values()) or len(self.network) > 0
            for name in self.system.names:
                if name not in self.system.running:
                    self.start(name)
            for name in self.system.names:
                if name in self.system.running:
                    busy = self.step(name) > 0 or busy
            self.look()
            if not busy and self.is_quiet:
                break
        else:
            raise Violation(f"the system did not settle in {MAX_SETTLING} rounds")
        self.checker.complete()
        for name, count in self.checker.dead_letters().items():
            self.story.tell("dead letters", f"{name} {count}")
        full_pass(self)
        return self._compare()

    def _compare(self) -> str:
        for name in self.system.names:
            self.checker.reread(name)
            self.checker.audit(name, None)
            self.checker.audit(name, self.system.of(name).newest(name))
        lived = {n: s for n in self.system.names if (s := self.system.running[n].host.module.section()) is not None}
        wanted = undisturbed(self.system, self.checker.accepted)
        for name, section in lived.items():
            if section != wanted[name]:
                raise Violation(f"the section of {name} is not that of an undisturbed run")
        return hashlib.sha256(repr(sorted(lived.items())).encode()).hexdigest()


def _brief(answer: Answer) -> str:
    """Return an answer in a few words: what it says must not depend on the length of ids."""
    result = answer.result
    if isinstance(result, Receipt):
        return f"{result.accepted} new, {result.duplicates} known"
    if isinstance(result, PublishReceipt):
        return f"number {result.seq} of incarnation {result.incarnation}"
    return "refused" if answer.is_refused else str(result)
