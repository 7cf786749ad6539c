"""HTML pages: what is shown becomes text, what is not is left out, and no page takes longer than its length."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tori.events.document import Document
from tori.sources import Folder, Refusal, hypertext

PAGE = """<!DOCTYPE html><html><head><title>Roses &amp; soil
</title><meta name="date" content="2024-03-01"><style>p { color: red }</style>
<script>if (a < b) document.write("<p>never</p>")</script></head>
<body><nav><a href="/">Home</a></nav><h1>Roses</h1><p>Prune  them
in&nbsp;<b>March</b>.<!-- not <p>this</p> --></p><ul><li>one</li><li>two &lt;3</li></ul>
<h2>Soil <a href="#soil">¶</a></h2><pre>a  b
c</pre><p>See <a href="soil.html#top" title="a > b">soil</a><br>and <a href='b.md'>b</a>.</p>
<table><tr><td>x</td><td>y</td></tr></table></body></html>"""


def test_what_is_shown_becomes_text() -> None:
    page = hypertext.read(PAGE)
    assert page.title == "Roses & soil"
    assert page.fields == {"date": "2024-03-01"}
    assert page.links == ["#soil", "soil.html#top", "b.md"]
    assert page.text == ("Roses\n\nPrune them in March.\n\none\ntwo <3\n\nSoil ¶\n\na  b\nc\n\nSee soil\nand b.\n\nx y")
    assert [(h.title, page.text[h.start :].split("\n")[0]) for h in page.headings] == [
        ("Roses", "Roses"),
        ("Soil", "Soil ¶"),
    ]


def test_the_main_element_is_enough() -> None:
    page = hypertext.read("<title>T</title><body><p>menu</p><main><h1>A</h1>text</main><p>foot</p>")
    assert (page.title, page.text) == ("T", "A\n\ntext")
    assert hypertext.read("<p>all</p><main></main>").text == "all"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("a <b", "a <b"),
        ("1 < 2 > 0", "1 < 2 > 0"),
        ("a<!-- never closed", "a"),
        ("a<script>never closed", "a"),
        ("a<nav>b", "ab"),
        ('a<p class="x>b</p>c', "a\n\nb\n\nc"),
        ("<P>a</P><UNKNOWN>b</UNKNOWN>", "a\n\nb"),
        ("&#0;&bogus;&amp;", "\ufffd&bogus;&"),
    ],
)
def test_broken_pages_are_read_as_far_as_they_go(source: str, text: str) -> None:
    assert hypertext.read(source).text == text


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "piece",
    [
        "<!--",
        "<",
        "<a ",
        '<a "',
        "<a b='",
        "<nav>",
        "<svg></svg",
        "<h1>x",
        "<title>x",
        "<title></title>",
        "&",
        "<!",
        "<p> ",
    ],
)
def test_hostile_pages_take_time_in_their_length(piece: str) -> None:
    times = []
    for count in (20_000, 160_000):
        begun = time.process_time()
        hypertext.read(piece * count)
        times.append(time.process_time() - begun)
    assert times[1] < 8 * 6 * times[0] + 0.2


def test_a_folder_takes_html_in_its_own_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes('<meta charset="windows-1252"><p>caf\xe9 <a href="b.htm">b</a>'.encode("cp1252"))
    (tmp_path / "b.htm").write_text("<h1>B</h1><p>text")
    (tmp_path / "c.html").write_text("<script>only()</script>")
    (tmp_path / "d.html").write_bytes(b'<meta charset="hex"><p>odd')
    (tmp_path / "e.html").write_bytes(b'<meta charset="idna"><p>caf\xe9')
    found = list(Folder(tmp_path).documents())
    documents = {d.id: d for d in found if isinstance(d, Document)}
    refusals = {Path(r.path).name: r.reason for r in found if isinstance(r, Refusal)}
    assert documents["a"].text == "café b"
    assert documents["a"].links == ("b",)
    assert (documents["b"].title, documents["b"].sections[0].title) == ("B", "B")
    assert documents["d"].text == "odd"
    assert set(refusals) == {"c.html", "e.html"}
    assert "no text between its tags" in refusals["c.html"]
