"""The commit unit: what one decision writes, whole or not at all.

A unit is up to four kinds of frames under one commit number, the last one flagged: private records, events (one frame a stretch
of the same lane), delivery records (what became of dead letters), and the cursor frame that names the input frames the decision
consumed. Replay reads units back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from tori.events.catalogue import lane_of
from tori.events.codec import encode_body, encoder, tag_of
from tori.events.envelope import Event, FrameContext
from tori.journal.follower import Readable, Run
from tori.journal.frame import CURSOR, DELIVERY, EVENTS, RECORDS, Frame, type_set_of
from tori.journal.reader import FrameView

MAX_FRAME_EVENTS = 1024
MAX_FRAME_BYTES = 1 << 20

_run_decoder = msgspec.msgpack.Decoder(list[Run])


def events_frame(context: FrameContext, events: Sequence[Event], lane: int) -> Frame:
    """Return one frame of ``events``, which share a lane and are in order of time."""
    types = {type(event.payload) for event in events}
    return Frame(
        EVENTS,
        encode_body(context, events),
        len(events),
        lane,
        events[0].time_ns,
        events[-1].time_ns,
        type_set_of({tag_of(t) for t in types}),
    )


def event_frames(context: FrameContext, events: Sequence[Event]) -> list[Frame]:
    """Return frames for ``events`` in order: a new frame where the lane changes or a limit is reached."""
    frames: list[Frame] = []
    start, size = 0, 0
    for index, event in enumerate(events):
        size += _rough_size(event)
        is_full = index - start + 1 >= MAX_FRAME_EVENTS or size >= MAX_FRAME_BYTES
        lane = lane_of(type(event.payload))
        if index + 1 == len(events) or is_full or lane_of(type(events[index + 1].payload)) != lane:
            frames.append(events_frame(context, events[start : index + 1], lane))
            start, size = index + 1, 0
    return frames


def _rough_size(event: Event) -> int:
    text = getattr(event.payload, "text", "")
    return 128 + len(text)


def records_frame(records: Sequence[Any]) -> Frame:
    """Return one frame of a module's private records."""
    return Frame(RECORDS, encoder.encode(list(records)), len(records))


def cursor_frame(runs: Sequence[Run]) -> Frame:
    """Return the frame that names the input frames a unit consumed."""
    return Frame(CURSOR, encoder.encode(runs))


def delivery_frame(records: Sequence[Any]) -> Frame:
    """Return one frame of a host's own records about its deliveries; they take no sequence."""
    return Frame(DELIVERY, encoder.encode(list(records)))


class Unit:
    """A commit unit read back."""

    __slots__ = ("end", "frames")

    def __init__(self, frames: list[FrameView], end: int) -> None:
        self.frames = frames
        self.end = end

    @property
    def runs(self) -> list[Run]:
        """Return the input frames it consumed, in order."""
        return [r for f in self.frames if f.header.kind == CURSOR for r in _run_decoder.decode(f.body)]

    def records(self, decoder: msgspec.msgpack.Decoder[Any]) -> list[Any]:
        return [r for f in self.frames if f.header.kind == RECORDS for r in f.records(decoder)]

    def delivery_records(self, decoder: msgspec.msgpack.Decoder[Any]) -> list[Any]:
        """Return what the host recorded about its deliveries."""
        return [r for f in self.frames if f.header.kind == DELIVERY for r in decoder.decode(f.body)]

    @property
    def events(self) -> list[Event]:
        return [e for f in self.frames if f.header.kind == EVENTS for e in f.events]


def units(reader: Readable, start: int, limit: int) -> Iterator[Unit]:
    """Yield the commit units in [start, limit)."""
    frames: list[FrameView] = []
    for frame in reader.frames(start, limit):
        frames.append(frame)
        if frame.header.is_last_of_unit:
            yield Unit(frames, frame.end)
            frames = []
