"""The text of an HTML page: its title, headings, links and date; scripts, styles and navigation are left out.

Not ``html.parser``: on unclosed comments and tags it takes quadratic time in the Pythons that are out there (3.11 for good). Every
expression here stops at the next ``<``, and what is not closed anywhere is looked for once, so a page takes time in its
length only.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field

from tori.sources.markup import LONGEST_TITLE, Heading

MOST_HEADINGS = 4_096
MOST_LINKS = 4_096

_MARK = re.compile(
    r"<(?:(?P<comment>!--)|(?P<other>[!?][^<>]*+>)"
    r"|(?P<close>/?)(?P<name>[a-zA-Z][a-zA-Z0-9:-]{0,40})(?P<attributes>(?:[^<>\"']++|\"[^\"<]*+\"|'[^'<]*+')*+)>"
    r"|(?P<closing>/?)(?P<loose>[a-zA-Z][a-zA-Z0-9:-]{0,40})[^<>]*+>)"
)
_ATTRIBUTE = re.compile(r"([a-zA-Z][\w:-]{0,40})\s{0,8}=\s{0,8}(?:\"([^\"]*+)\"|'([^']*+)'|([^\s\"'>]++))")
_CHARSET = re.compile(rb"<meta[^<>]{0,200}?charset\s{0,4}=\s{0,4}[\"']?\s{0,4}([\w.:-]{1,40})", re.I)
_SPACES = re.compile(r"[ \t\n\r\f\v\xa0]+")
_RAW = frozenset(["script", "style"])
"""Everything up to the closing tag is no text, even when that never comes."""
_LEFT_OUT = frozenset(
    ["noscript", "template", "svg", "math", "nav", "iframe", "object", "select", "button", "textarea"]
)
_LINES = frozenset(["br", "li", "tr", "dt", "dd", "option", "figcaption", "caption"])
_BLOCKS = frozenset(
    """address article aside blockquote body dl div details fieldset figure footer form h1 h2 h3 h4 h5 h6 head header hr
    html main ol p pre section summary table tbody thead ul title""".split()
)
_HEADINGS = frozenset(["h1", "h2", "h3", "h4", "h5", "h6"])
_DATES = ("article:published_time", "date", "dc.date", "dcterms.created", "dcterms.date", "datepublished", "pubdate")


@dataclass
class Page:
    """What a page says. Offsets of headings count characters of ``text``."""

    text: str = ""
    title: str = ""
    headings: list[Heading] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    """``date``, when a meta element states one."""


def charset_of(data: bytes) -> str:
    """Return the encoding that a meta element near the start declares, or an empty string."""
    found = _CHARSET.search(data, 0, 2_048)
    return "" if found is None else found[1].decode("ascii").lower()


def read(source: str) -> Page:
    """Return the text of a page: that of its main element when it has one, since around it stands what every page repeats."""
    folded = source.lower()
    start, end = folded.find("<main"), folded.rfind("</main")
    if len(folded) == len(source) and 0 <= start < end:
        head = max(0, min(folded.find("<body"), start))
        page = _Reader(source[:head] + source[start:end]).page()
        if page.text.strip():
            return page
    return _Reader(source).page()


class _Reader:
    def __init__(self, source: str) -> None:
        self._source = source
        self._folded = source.lower() if len(source.lower()) == len(source) else source
        self._parts: list[str] = []
        self._length = 0
        self._pending = ""
        """White space owed before the next word: blank, line break or paragraph."""
        self._preformatted = 0
        self._page = Page()
        self._heading = self._title = -1
        """Where an open heading began; where, among the parts, an open title did."""
        self._titled = False
        self._unclosed: set[str] = set()

    def page(self) -> Page:
        at, source = 0, self._source
        while True:
            start = source.find("<", at)
            self._add(source[at:] if start < 0 else source[at:start])
            if start < 0:
                break
            mark = _MARK.match(source, start)
            if mark is None:
                self._add("<")
                at = start + 1
            else:
                at = self._take(mark)
        self._page.text = "".join(self._parts)
        return self._page

    def _take(self, mark: re.Match[str]) -> int:
        """Handle one mark; return where reading goes on."""
        if mark["comment"]:
            end = self._source.find("-->", mark.end())
            return len(self._source) if end < 0 else end + 3
        name = (mark["name"] or mark["loose"] or "").lower()
        if not name:
            return mark.end()
        if mark["close"] or mark["closing"]:
            self._close(name)
            return mark.end()
        if name in _RAW or name in _LEFT_OUT:
            return self._skip(name, mark.end())
        self._open(name, mark["attributes"] or "")
        return mark.end()

    def _skip(self, name: str, at: int) -> int:
        """Return the end of an element whose content is left out; one that is never closed loses only its tag."""
        end = -1 if name in self._unclosed else self._folded.find(f"</{name}", at)
        if end < 0:
            self._unclosed.add(name)
            return len(self._source) if name in _RAW else at
        close = self._source.find(">", end)
        return len(self._source) if close < 0 else close + 1

    def _open(self, name: str, attributes: str) -> None:
        if name in _BLOCKS:
            self._owe("\n\n")
        elif name in _LINES:
            self._owe("\n")
        elif name in ("td", "th"):
            self._owe(" ")
        if name == "pre":
            self._preformatted += 1
        elif name in _HEADINGS:
            self._heading = self._length
        elif name == "title" and not self._titled:
            self._title, self._titled = len(self._parts), True
        elif name == "a" and len(self._page.links) < MOST_LINKS:
            target = _attributes(attributes).get("href", "").strip()
            if target:
                self._page.links.append(target)
        elif name == "meta":
            self._meta(_attributes(attributes))

    def _meta(self, found: dict[str, str]) -> None:
        name = (found.get("name") or found.get("property") or found.get("itemprop") or "").lower()
        if name in _DATES and found.get("content"):
            self._page.fields.setdefault("date", found["content"].strip())

    def _close(self, name: str) -> None:
        if name == "pre":
            self._preformatted = max(0, self._preformatted - 1)
        elif name == "title" and self._title >= 0:
            self._page.title = " ".join("".join(self._parts[self._title :]).split())
            del self._parts[self._title :]
            self._length, self._title = sum(map(len, self._parts)), -1
            self._pending = ""
        elif name in _HEADINGS and self._heading >= 0:
            self._end_heading()
        if name in _BLOCKS:
            self._owe("\n\n")

    def _end_heading(self) -> None:
        whole = "".join(self._parts[-64:])
        start = len(whole) - (self._length - self._heading)
        title = " ".join(whole[max(0, start) :].split()).rstrip("¶# ")
        if 0 < len(title) <= LONGEST_TITLE and len(self._page.headings) < MOST_HEADINGS:
            begin = self._heading + (len(whole[start:]) - len(whole[start:].lstrip()) if start >= 0 else 0)
            self._page.headings.append(Heading(begin, title))
        self._heading = -1

    def _owe(self, space: str) -> None:
        if len(space) > len(self._pending) or (space == "\n" and self._pending == " "):
            self._pending = space

    def _add(self, text: str) -> None:
        if not text:
            return
        text = html.unescape(text) if "&" in text else text
        if not self._preformatted:
            text = _SPACES.sub(" ", text)
            if text.startswith(" "):
                self._owe(" ")
                text = text[1:]
            trailing = text.endswith(" ")
            text = text[:-1] if trailing else text
        else:
            trailing = False
        if text:
            lead = self._pending if self._length else ""
            self._pending = ""
            self._parts.append(lead + text)
            self._length += len(lead) + len(text)
        if trailing:
            self._owe(" ")


def _attributes(text: str) -> dict[str, str]:
    return {m[1].lower(): html.unescape(m[2] or m[3] or m[4] or "") for m in _ATTRIBUTE.finditer(text)}
