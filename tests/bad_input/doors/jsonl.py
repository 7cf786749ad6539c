"""JSON Lines: ``tori ingest x.jsonl``. Good lines around the bad one are known already, so the digest shows what else happened."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from tests.bad_input.bench import Bench
from tests.bad_input.case import Door, Outcome
from tests.support.system import small_corpus

DOOR = Door("JSON Lines", __doc__)
CORRECT = "Correct the line or leave it out."
SHAPE = 'A line is one JSON object with at least "id" and "text".'
LINE_BYTES = 200_000_000
MOST_EXTRA_MB = 100


def good(count: int) -> list[bytes]:
    """Return lines of documents that the mind knows."""
    rows = [
        {"id": d.id, "title": d.title, "text": d.text, "time": (d.time_ns or 0) / 1e9, "links": list(d.links)}
        for d in small_corpus(16)
    ]
    return [json.dumps(row).encode() for row in rows[:count]]


def line(content: bytes | dict[str, Any]) -> Callable[[Bench], Outcome]:
    """Return what ingests six good lines, this one, and two good ones."""
    bad = json.dumps(content).encode() if isinstance(content, dict) else content
    lines = good(8)
    return whole(b"\n".join([*lines[:6], bad, *lines[6:]]) + b"\n")


def whole(content: bytes, name: str = "x.jsonl") -> Callable[[Bench], Outcome]:
    def run(bench: Bench) -> Outcome:
        (bench.place / name).write_bytes(content)
        return bench.ingest(bench.place / name)

    return run


def add(given: str, content: bytes | dict[str, Any], *says: str) -> None:
    DOOR.add(given, line(content), "x.jsonl, line 7: ", *says, exit_code=0)


TEXT = {"id": "x", "text": "some text"}
add("a broken line 7", b'{"id": "x", "text": "cut', "not a document", SHAPE)
add("a line that is a list", b'["x", "text"]', "Expected `object`, got `array`", SHAPE)
add("a line without id", {"text": "t"}, "missing required field `id`", SHAPE)
add("a line without text", {"id": "x"}, "missing required field `text`", SHAPE)
add("an id of the wrong type", TEXT | {"id": ["x"]}, "at `$.id`", SHAPE)
add("a text of the wrong type", TEXT | {"text": 7}, "at `$.text`", SHAPE)
add("a title of the wrong type", TEXT | {"title": {}}, "at `$.title`", SHAPE)
add("a time of the wrong type", TEXT | {"time": [2020]}, "at `$.time`", SHAPE)
add("links of the wrong type", TEXT | {"links": "y"}, "at `$.links`", SHAPE)
add("a thread of the wrong type", TEXT | {"thread": 1}, "at `$.thread`", SHAPE)
add("sections of the wrong type", TEXT | {"sections": "no"}, "at `$.sections`", SHAPE)
add("NaN as the time", b'{"id": "x", "text": "t", "time": NaN}', "not a document", SHAPE)
add("half a surrogate pair", b'{"id": "x", "text": "a\\ud800b"}', "not a document", SHAPE)
add("bytes that are not UTF-8", b'{"id": "x", "text": "caf\xe9"}', "not a document", SHAPE)
add("a hundred thousand brackets", b'{"id": "x", "text": "t", "more": ' + b"[" * 100_000, "not a document", SHAPE)
add("an empty id", TEXT | {"id": " "}, "the id is empty.", CORRECT)
add("a huge id", TEXT | {"id": "x" * 5_000}, "the id has 5000 characters; 512 are allowed.", CORRECT)
add("a control character in an id", TEXT | {"id": "a\x1b[2Jb"}, "the id holds a control character", CORRECT)
add("path traversal in an id", TEXT | {"id": "../../etc/passwd"}, "the id leads out of its place with '..'.", CORRECT)
add("path traversal the Windows way", TEXT | {"id": "a\\..\\b"}, "the id leads out of its place with '..'.", CORRECT)
add("an empty text", TEXT | {"text": ""}, "the text is empty.", CORRECT)
add("NUL characters in a text", TEXT | {"text": "a\0b"}, "NUL character: it is binary.", CORRECT)
add("a text over 8 MiB", TEXT | {"text": "x" * (8 * 2**20 + 1)}, "larger than 8388608 bytes.", CORRECT)
add("a title of 5,000 characters", TEXT | {"title": "x" * 5_000}, "the title has 5000 characters; 2000", CORRECT)
add("a hundred thousand links", TEXT | {"links": [f"d{n}" for n in range(100_000)]}, "100000 links; 65536", CORRECT)
add("a link that no id can be", TEXT | {"links": ["x" * 600]}, "a link is longer than the 512 characters", CORRECT)
ISO = "Give an ISO 8601 date or seconds since 1970."
add("a time that is none", TEXT | {"time": "yesterday"}, "field time", ISO)
add(
    "a day that is not in the calendar", TEXT | {"time": "2021-02-30"}, "field time: day is out of range for month", ISO
)
add("the year 9999", TEXT | {"time": "9999-12-31"}, "outside the years 1678 to 2261", ISO)
add("milliseconds instead of seconds", TEXT | {"time": 1_700_000_000_000}, "milliseconds instead of seconds?", ISO)
add(
    "a section outside the text",
    TEXT | {"sections": [[0, 999, "x"]]},
    "field sections: a span lies outside",
    "Count characters",
)
NOTHING = "there is nothing to read in"
DOOR.add("a file of 0 bytes", whole(b""), NOTHING, "one document a line.")
DOOR.add("a JSON array over many lines", whole(b'[\n{"id": "x",\n"text": "t"}\n]\n'), "line 1: not a document", SHAPE)
DOOR.add("a file in UTF-16", whole(b'{"id": "x"}\n'.decode().encode("utf-16")), "not a document", SHAPE)
DOOR.add("a byte order mark before the first line", whole(b"\xef\xbb\xbf" + b"\n".join(good(3))), exit_code=0)
DOOR.add("the same line twice", whole(b"\n".join([*good(2), *good(2)])), exit_code=0)
AGAIN = "The file is damaged or cut; get it again."
DOOR.add("a .gz that is none", whole(b'{"id": "x"}\n', "x.jsonl.gz"), "reading stopped: Not a gzipped file", AGAIN)
DOOR.add(
    "a .gz that is cut",
    whole(gzip.compress(b"\n".join(good(8)))[:-40], "x.jsonl.gz"),
    "reading stopped: Compressed file ended",
    AGAIN,
    exit_code=0,
)
DOOR.add(
    "a .gz of 100 kB that holds 100 MB of blanks",
    whole(gzip.compress(b" " * 100_000_000), "x.jsonl.gz"),
    "expands far beyond its size.",
    "Unpack it and look inside first.",
)
DOOR.add(
    "a million empty lines", whole(b"\n" * 1_000_000), "200000 lines in a row hold no document: given up here.", SHAPE
)


@DOOR.case(
    f"a line of {LINE_BYTES // 10**6} MB, met within {MOST_EXTRA_MB} MB of memory",
    "x.jsonl, line 2: longer than 25165824 bytes.",
    "Split the document.",
    "1 documents, 1 refused",
    exit_code=0,
)
def long_line(bench: Bench) -> Outcome:
    path = bench.place / "x.jsonl"
    with path.open("wb") as file:
        file.write(good(1)[0] + b'\n{"id": "x", "text": "')
        for _ in range(LINE_BYTES // 1_000_000):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n')
    measure = (
        "import resource, sys; from tori.sources import open_source, Refusal\n"
        "from tori.events.document import Document\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); found = list(open_source(sys.argv[1]).documents())\n"
        "print(*(f for f in found if isinstance(f, Refusal)))\n"
        "print(sum(isinstance(f, Document) for f in found), 'documents, 1 refused')\n"
        "print((peak() - before) // 1024, 'MB')\n"
    )
    done = subprocess.run([sys.executable, "-c", measure, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-2]) < MOST_EXTRA_MB, done.stdout
    return Outcome(done.stdout, bench.ingest(path).exit_code)
