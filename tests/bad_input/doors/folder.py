"""A folder, or one file: ``tori ingest PATH``."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from tests.bad_input.bench import Bench, as_nobody, open_to_all
from tests.bad_input.case import Door, Outcome
from tori.events.document import LARGEST_TEXT_BYTES
from tori.sources import open_source

DOOR = Door("folder", __doc__)
CORRECT = "Correct the file or remove it."


def one_file(name: str, content: bytes) -> Callable[[Bench], Outcome]:
    """Return what ingests a folder with one file."""

    def run(bench: Bench) -> Outcome:
        (bench.place / "in").mkdir()
        (bench.place / "in" / name).write_bytes(content)
        return bench.ingest(bench.place / "in")

    return run


def one_entry(make: Callable[[Path], object]) -> Callable[[Bench], Outcome]:
    """Return what ingests a folder with one entry that ``make`` puts at the path it is given."""

    def run(bench: Bench) -> Outcome:
        (bench.place / "in").mkdir()
        make(bench.place / "in" / "x.md")
        return bench.ingest(bench.place / "in")

    return run


def of_size(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def bind(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path may have 107 bytes only
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


DOOR.add("a binary file", one_file("x.txt", b"\x7fELF\0\1\2\3"), "x.txt: not text in utf-8.", "Save it as UTF-8")
DOOR.add("bytes that are not UTF-8", one_file("x.md", b"caf\xe9"), "x.md: not text in utf-8.", "or name its encoding")
DOOR.add(
    "UTF-16 without its mark", one_file("x.md", "text".encode("utf-16-le")), "not text in utf-8.", "Save it as UTF-8"
)
DOOR.add(
    "UTF-16 cut in the middle of a character",
    one_file("x.md", b"\xff\xfea\0b"),
    "not text in utf-8.",
    "Save it as UTF-8",
)
DOOR.add("NUL characters in UTF-16", one_file("x.md", "a\0b".encode("utf-16")), "NUL character: it is binary.", CORRECT)
DOOR.add("an empty file", one_file("x.md", b""), "x.md: the text is empty.", CORRECT)
DOOR.add("a file of blanks", one_file("x.md", b" \n\t\n"), "the text is empty.", CORRECT)
DOOR.add(
    "front matter and nothing after it",
    one_file("x.md", b"---\ntitle: x\n---\n"),
    "nothing follows its front",
    "Write a text",
)
DOOR.add(
    "HTML without text", one_file("x.html", b"<script>all()</script>"), "no text between its tags.", "Save the page"
)
DOOR.add(
    "a file over 8 MiB",
    one_entry(lambda path: of_size(path, LARGEST_TEXT_BYTES + 1)),
    "8388609 bytes; a document may have 8388608.",
    "Split it into parts.",
)
DOOR.add("a line break in a file name", one_file("a\nb.md", b"text"), "the id holds a control character", CORRECT)
DOOR.add(
    "a file name that is no UTF-8",
    one_entry(lambda path: Path(os.fsdecode(os.fsencode(path.parent) + b"/caf\xe9.md")).write_text("text")),
    "bytes that are no text.",
    CORRECT,
)
DOOR.add("a pipe", one_entry(os.mkfifo), "not a regular file (a pipe, socket or device).", "Remove it")
DOOR.add("a socket", one_entry(bind), "x.md: cannot be read: No such device or address.", "or remove it")
DOOR.add(
    "a symbolic link in a circle", one_entry(lambda path: path.symlink_to("x.md")), "leads in a circle.", "Remove it."
)
DOOR.add(
    "a symbolic link out of the folder",
    one_entry(lambda path: path.symlink_to("/etc/passwd")),
    "leads out of the folder.",
    "Copy its target here.",
)
DOOR.add(
    "a symbolic link to nothing",
    one_entry(lambda path: path.symlink_to("gone")),
    "a symbolic link to nothing.",
    "Remove it",
)
DOOR.add(
    "a file with an ending nobody knows",
    lambda b: b.ingest(_unknown(b)),
    "of no kind that can be read.",
    "ending in .txt",
)
DOOR.add("a path where nothing is", lambda b: b.ingest(b.place / "no"), "there is no file or folder", "git:PATH")
DOOR.add("an empty path", lambda b: b.ingest(""), "the source is empty.", ". is the folder you are in.")
DOOR.add(
    "the home of a user who is not there", lambda b: b.ingest("~nobody-here/x"), "is no path", "Write the path out."
)
DOOR.add(
    "a pipe as the source itself", lambda b: b.ingest(_pipe(b)), "not a regular file", "Write its content to a file."
)


def _unknown(bench: Bench) -> Path:
    path = bench.place / "x.exe"
    path.write_text("text")
    return path


def _pipe(bench: Bench) -> Path:
    path = bench.place / "x.md"
    os.mkfifo(path)
    return path


@DOOR.case("a folder with nothing to read", "there is nothing to read in", "files ending in .txt")
def nothing(bench: Bench) -> Outcome:
    (bench.place / "x.exe").write_text("text")
    return bench.ingest(bench.place)


@DOOR.case("folders 150 deep", "more than 100 folders deep.", "Ingest it by itself.")
def deep(bench: Bench) -> Outcome:
    path = bench.place / "in" / "/".join("d" * 150)
    path.mkdir(parents=True)
    (path / "x.md").write_text("text")
    return bench.ingest(bench.place / "in")


@DOOR.case("a path of more than 512 characters", "the id has 604 characters; 512 are allowed.", CORRECT)
def long_path(bench: Bench) -> Outcome:
    path = bench.place / "in" / ("a" * 200) / ("b" * 200)
    path.mkdir(parents=True)
    (path / ("c" * 202 + ".md")).write_text("text")
    return bench.ingest(bench.place / "in")


def _refused_to_nobody(lock: Callable[[Path], None]) -> Outcome:
    with open_to_all() as place:
        (place / "in").mkdir()
        (place / "in" / "x.md").write_text("text")
        lock(place / "in")
        try:
            return as_nobody(lambda: Outcome(" ".join(map(str, open_source(place / "in").documents())), 65))
        finally:
            (place / "in").chmod(0o755)


@DOOR.case("a file that may not be read", "x.md: cannot be read: Permission denied.", "Allow reading it, or remove it.")
def unreadable_file(bench: Bench) -> Outcome:
    return _refused_to_nobody(lambda folder: (folder / "x.md").chmod(0))


@DOOR.case("a folder that may not be read", "cannot be listed: Permission denied.", "Allow reading it.")
def unreadable_folder(bench: Bench) -> Outcome:
    return _refused_to_nobody(lambda folder: folder.chmod(0))


DOOR.add(
    "a package that is not installed",
    lambda b: b.ingest("python:no_such_package"),
    "no Python source of 'no_such_package' is installed",
    "Install it",
)
DOOR.add("a path as a package", lambda b: b.ingest("python:../../etc"), "is no import name.", "as import takes them")
