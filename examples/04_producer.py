"""Events of one's own, each once, and a handler that cannot take one of them until it is mended."""

from collections.abc import Sequence

import msgspec

from tori.bus.producer import Producer
from tori.errors import PermanentError
from tori.events.envelope import Event
from tori.events.system import CustomEvent
from tori.local import LocalSystem
from tori.modules.base import Context, Fact, Module
from tori.modules.registry import create_module


class Mean(Module):
    """The mean of all readings. Takes the place of ``scars``, which follows the clients' journal too."""

    name = "scars"
    inputs = (CustomEvent,)
    knows_fahrenheit = False

    def __init__(self) -> None:
        self.readings: list[float] = []

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        for event in batch:
            if (
                isinstance(event.payload, CustomEvent)
                and "celsius" not in event.payload.data
                and not self.knows_fahrenheit
            ):
                raise PermanentError(f"what is {event.payload.data}?")
        return []

    def apply(self, fact: Fact) -> None:
        if isinstance(fact, Event) and isinstance(fact.payload, CustomEvent):
            data = fact.payload.data
            celsius = data["celsius"] if "celsius" in data else (float(str(data["fahrenheit"])) - 32) / 1.8
            self.readings.append(float(str(celsius)))

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self.readings)

    def restore(self, data: bytes) -> None:
        self.readings = msgspec.msgpack.decode(data, type=list[float])


def main() -> None:
    """Publish three readings, find the one that was not understood, mend the handler, deliver it again."""
    mean = Mean()
    modules = {"clients": create_module("clients"), "scars": mean}
    with LocalSystem(modules=tuple(modules), create=modules.__getitem__) as mind:
        thermometer = Producer(mind, "thermometer")
        for reading in ({"celsius": 20.0}, {"fahrenheit": 86.0}, {"celsius": 10.0}):
            thermometer.publish(CustomEvent("reading", reading), key="kitchen")
        mind.settle()
        (letter,) = mind.dead_letters("state=dead")["letters"]
        print(f"{len(mean.readings)} readings; {letter['error_type']}: {letter['error']}")
        mean.knows_fahrenheit = True
        mind.command("scars", "redrive", {"filter": "key=kitchen"})
        mind.settle()
        print(f"mean of {len(mean.readings)}: {sum(mean.readings) / len(mean.readings):.1f}")


if __name__ == "__main__":
    main()
