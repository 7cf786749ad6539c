"""The digest covers the mind: every kind of finding stands in a section, every leaf of a section counts, every real change shows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tests.support.modules import Bench, ingested
from tests.support.planted_map import blocks, mapped
from tests.support.system import small_corpus
from tests.support.tiny_corpus import Events, circle, concepts, two_worlds
from tori.digest import canonical, mind_digest, section_digest
from tori.events.document import Document
from tori.events.envelope import Event
from tori.events.mind import ConceptAdded
from tori.ids import IdSource, source_suffix
from tori.modules.alien import Alien
from tori.modules.braid import Braid
from tori.modules.clients import Clients
from tori.modules.reader import Reader
from tori.modules.scars import Scars
from tori.modules.wormhole import Wormhole

Pair = tuple[Bench, Callable[[], Bench]]
"""A module that holds findings, and what brings about one real change in it (the same bench or another)."""


def clients() -> Pair:
    documents = small_corpus(4)
    changed = [msgspec.structs.replace(documents[0], text="Something else."), *documents[1:]]

    def fed(given: list[Document]) -> Bench:
        bench = Bench(Clients())
        bench.command("ingest", documents=msgspec.msgpack.encode(given))
        return bench

    return fed(documents), lambda: fed(changed)


def reader() -> Pair:
    documents = small_corpus(12)

    def read(given: list[Document]) -> Bench:
        bench = Bench(Reader())
        bench.feed(ingested(given))
        bench.scan("concept_selection")
        return bench

    return read(documents), lambda: read(documents[:-1])


def hierarchy() -> Pair:
    documents = blocks(3, 8, linked=0.3)
    moved = [msgspec.structs.replace(documents[0], text=documents[-1].text, links=documents[-1].links), *documents[1:]]
    return mapped(documents), lambda: mapped(moved)


def braid() -> Pair:
    bench = Bench(Braid())
    texts = {name: f"The {name} bench stands near the old walnut tree." for name in ("north", "south", "west")}
    documents = [
        Document(name, name, text, int(datetime(2010 + n, 1, 1, tzinfo=UTC).timestamp()) * 10**9)
        for n, (name, text) in enumerate(texts.items())
    ]
    bench.feed([*ingested(documents), *Events().concepts({"walnut tree": dict.fromkeys(("north", "south"), 1.0)})])
    bench.scan("memory_cleanup")

    def crossed() -> Bench:
        bench.feed(Events().concepts({"walnut tree": dict.fromkeys(texts, 1.0)}))
        bench.scan("memory_cleanup")
        return bench

    return bench, crossed


def wormhole() -> Pair:
    documents, members = two_worlds(0)
    bench, make = Bench(Wormhole()), Events()
    bench.feed(make.documents(documents))
    bench.feed(make.concepts(concepts(documents)))
    bench.feed(make.communities(members))
    bench.scan("wormhole_scan")

    def rejected() -> Bench:
        best = bench.module.query("bridges", {"limit": 1})["items"][0]["wormhole_id"]
        bench.command("reject", id=best)
        return bench

    return bench, rejected


def alien() -> Pair:
    def audited(burst: int) -> Bench:
        documents = []
        for year in range(2001, 2013):
            for i in range(12):
                other = "steering council" if year == 2009 and i < burst else f"topic {'abcdef'[(i + year) % 6]}"
                time_ns = int(datetime(year, i + 1, 3, tzinfo=UTC).timestamp()) * 10**9
                text = f"The topic {'abcdef'[i % 6]} came up again. We settle the {other}s here, as agreed."
                documents.append(Document(f"note-{year}-{i:02d}", f"note {year} {i}", text, time_ns))
        ids = IdSource(source_suffix("reader", b"test"), lambda: 10**18)
        events = []
        for label in ["steering council", *(f"topic {c}" for c in "abcdef")]:
            sources = tuple(sorted(d.id for d in documents if label in d.text))
            events.append(Event(ids.next(), ConceptAdded(label, label, None, 0, sources, (1.0,) * len(sources))))
        bench = Bench(Alien())
        bench.feed(ingested(documents) + events)
        bench.scan("alien_audit")
        return bench

    return audited(10), lambda: audited(9)


def scars() -> Pair:
    def scanned(size: int) -> Bench:
        documents, table = circle(size)
        bench, make = Bench(Scars()), Events()
        bench.feed(make.documents(documents, embedded=False))
        bench.feed(make.concepts(table))
        bench.scan("scar_scan")
        return bench

    return scanned(36), lambda: scanned(34)


PROMISED = {
    clients: ("documents",),
    reader: ("concepts",),
    hierarchy: (),
    braid: ("threads", "braids"),
    wormhole: ("bridges",),
    alien: ("aliens",),
    scars: ("gaps",),
}
"""By module: the lists of its section that DESIGN names; the hierarchy's section is the tree itself."""


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every leaf of a JSON value."""
    if isinstance(value, dict | list) and value:
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(part, (*path, key))
    else:
        yield path


def changed(value: Any, path: tuple[Any, ...]) -> Any:
    """Return a copy in which the leaf at ``path`` is another one."""
    copied = copy.deepcopy(value)
    inner = copied
    for key in path[:-1]:
        inner = inner[key]
    old = inner[path[-1]]
    inner[path[-1]] = (not old) if isinstance(old, bool) else old + 1 if isinstance(old, int | float) else f"{old}x"
    return copied


@pytest.mark.parametrize("make", PROMISED, ids=lambda make: make.__name__)
def test_changing_any_section_changes_the_digest(make: Callable[[], Pair]) -> None:
    bench, change = make()
    section = bench.module.section()
    for name in PROMISED[make]:
        assert section[name], f"the section has no {name}: this test would show nothing"
    assert section
    others = {"another": "0" * 64}
    whole = mind_digest(others | {make.__name__: section_digest(section)})
    for path in leaves(section):
        other = mind_digest(others | {make.__name__: section_digest(changed(section, path))})
        assert other != whole, f"{path} does not count"
    before = copy.deepcopy(section)
    after = change().module.section()
    assert after != before, "a real change does not show in the section"
    assert mind_digest(others | {make.__name__: section_digest(after)}) != whole


def test_findings_stand_in_the_digest_with_their_p_values() -> None:
    for make, name in ((wormhole, "bridges"), (alien, "aliens"), (scars, "gaps")):
        items = make()[0].module.section()[name]
        keys = set(items[0])
        assert keys & {"p", "p_value", "significance"}, f"{name} come without a p-value: {keys}"


def test_the_digest_knows_no_order_of_keys_and_no_nan() -> None:
    assert section_digest({"a": 1, "b": [1, 2]}) == section_digest({"b": [1, 2], "a": 1})
    assert section_digest({"b": [1, 2]}) != section_digest({"b": [2, 1]})
    with pytest.raises(ValueError, match="float"):
        canonical(float("nan"))
