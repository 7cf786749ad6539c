"""Write docs/events.md, docs/schema/events.json and docs/cascade.md; with --check, only say whether they are current."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from msgspec import inspect

from tori.events.catalogue import ENTRIES, Entry, Lane, meaning_of
from tori.events.document import Section
from tori.events.mind import Evidence
from tori.events.schema import catalogue_schema, field_meanings, type_name
from tori.modules.cascade import markdown

ROOT = Path(__file__).resolve().parent.parent

_INTRODUCTION = """# Events

Generated from `tori/events` by `make docs`; change it there.

The original system's README announces 24 event types; its code declares 48, in 13 payload shapes. TORI goes by the code: all 48
exist here under their names, each bound to one payload, and {ours} types of TORI's own (marked *ours*) make {total}.

An event carries `id` (16 bytes, time-ordered), `key` (ordering key), `correlation_id`, `causes` and its payload; its frame
adds `source`, `origin`, `schema` and `traceparent`. Outside it is a CloudEvent 1.0 of type `tori.<Type>`, with bytes as hex:
[schema/events.json](schema/events.json) is the JSON Schema. Fields are only ever added, at the end, with a default;
numbers are for good.

## Lanes

{lanes}

Within a producer an effect is never more urgent than its cause, so an event that overtakes cannot show an effect first.
Everything about the mind is normal. Control, resources, tasks and recovery are high as one block. Critical is only what no event
causes: the system starts or stops, a checksum fails.

## All types

| type | number | lane | meaning | from | to |
|---|---|---|---|---|---|
{rows}

`clients` are people and programs at the doors: the command line, live views, reports."""


def events_page() -> str:
    """Return docs/events.md."""
    lanes = "\n".join(
        f"- **{lane.value} {lane.name.lower()}**: {', '.join(e.type for e in ENTRIES if e.priority == lane) or 'none'}"
        for lane in Lane
    )
    head = _INTRODUCTION.format(
        ours=sum(not entry.is_original for entry in ENTRIES),
        total=len(ENTRIES),
        lanes=lanes,
        rows="\n".join(_row(entry) for entry in ENTRIES),
    )
    groups = dict.fromkeys(entry.group for entry in ENTRIES)
    parts = "## Parts of payloads\n\n" + "\n\n".join(_fields(part) for part in (Evidence, Section))
    return "\n\n".join([head, *(_group(group) for group in groups), parts]).replace("``", "`") + "\n"


def _row(entry: Entry) -> str:
    name = f"{entry.type}{'' if entry.is_original else ' *(ours)*'}"
    ends = f"{', '.join(entry.emitters)} | {', '.join(entry.consumers)}"
    return f"| {name} | {entry.number} | {entry.priority.name.lower()} | {entry.meaning} | {ends} |"


def _group(group: str) -> str:
    entries = [entry for entry in ENTRIES if entry.group == group]
    return f"## {group.capitalize()} payloads\n\n" + "\n\n".join(_fields(entry.payload) for entry in entries)


def _fields(struct: type) -> str:
    node = inspect.type_info(struct)
    meanings = field_meanings(struct)
    lines = [f"### {struct.__name__}", "", meaning_of(struct), "", "| field | type | |", "|---|---|---|"]
    for field in node.fields if isinstance(node, inspect.StructType) else ():
        note = f"{'' if field.required else 'optional. '}{meanings.get(field.name, '')}".strip()
        lines.append(f"| `{field.name}` | {type_name(field.type)} | {note} |")
    return "\n".join(lines)


def cascade_page() -> str:
    """Return docs/cascade.md."""
    return f"""# The cascade

Generated from `tori/modules/cascade.py` by `make docs`; change it there. Who follows which journal is derived from this table.

{markdown()}
"""


def pages() -> dict[Path, str]:
    """Return every generated file with its text."""
    return {
        ROOT / "docs" / "events.md": events_page(),
        ROOT / "docs" / "schema" / "events.json": json.dumps(catalogue_schema(), indent=1, ensure_ascii=False) + "\n",
        ROOT / "docs" / "cascade.md": cascade_page(),
    }


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` return 1 when one is stale."""
    stale = [p for p, text in pages().items() if not p.exists() or p.read_text(encoding="utf-8") != text]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is stale: run make docs")
        return bool(stale)
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pages()[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
