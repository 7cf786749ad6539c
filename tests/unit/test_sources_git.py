"""Commits as documents, read from real repositories, hostile ones included."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tori.errors import BadInput, PermanentError
from tori.events.document import Document
from tori.sources import GitHistory, Refusal, open_source
from tori.sources import git as module


def git(place: Path, *words: str, date: int = 1_700_000_000, stdin: bytes = b"") -> str:
    who = {"GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.org", "GIT_AUTHOR_DATE": f"{date} +0100"}
    done = subprocess.run(
        ["git", "-C", str(place), *words],
        input=stdin,
        capture_output=True,
        check=True,
        env=os.environ
        | who
        | {name.replace("AUTHOR", "COMMITTER"): value for name, value in who.items()}
        | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
    )
    return done.stdout.decode().strip()


def commit(place: Path, message: str, *paths: str, date: int = 1_700_000_000) -> str:
    for path in paths:
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(message)
    git(place, "add", "-A")
    git(place, "commit", "--quiet", "--allow-empty", "--allow-empty-message", "-m", message, date=date)
    return git(place, "rev-parse", "HEAD")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    return folder


SIDE = "A message of some length, so that the names of the files fit beside it"


def documents(place: Path) -> list[Document]:
    return [found for found in open_source(f"git:{place}").documents() if isinstance(found, Document)]


def test_a_commit_is_a_document(place: Path) -> None:
    first = commit(place, "Begin the garden", "garden/rose.txt", "garden/soil.txt", "readme.md")
    message = (
        f"Prune the roses\n\nIn March. Follows {first[:9]} and 1234567 and deadbeef.\n\nSigned-off-by: Ann <a@b.c>"
    )
    second = commit(place, message, "garden/rose.txt", date=1_710_000_000)
    begun, pruned = documents(place)
    assert (begun.id, begun.title, begun.thread, begun.links) == (first, "Begin the garden", "garden", ())
    assert begun.text == "Begin the garden\n\n```\n3 changed\n```"
    assert (pruned.id, pruned.title, pruned.links) == (second, "Prune the roses", (first,))
    assert pruned.time_ns == 1_710_000_000 * 10**9
    assert "Signed-off-by" not in pruned.text
    assert pruned.text.endswith("and deadbeef.\n\n```\ngarden/rose.txt\n```")
    source = open_source(f"git:{place}")
    assert source.total() == len(list(source.documents())) == source.position == 2


def test_the_same_history_gives_the_same_documents_wherever_it_lies(place: Path, tmp_path: Path) -> None:
    commit(place, "One", "a/b.txt")
    commit(place, "Two", "a/c.txt")
    git(tmp_path, "clone", "--quiet", "--bare", str(place), "copy.git")
    here, there = documents(place), documents(tmp_path / "copy.git")
    assert [d.content_hash() for d in here] == [d.content_hash() for d in there]


def test_many_files_merges_and_odd_names(place: Path) -> None:
    commit(place, f"Import {'of the library ' * 20}", *(f"lib/{n:03d}.txt" for n in range(50)))
    git(place, "checkout", "--quiet", "-b", "side")
    commit(place, SIDE, "a\nb.txt", "0" * 40)
    git(place, "checkout", "--quiet", "main")
    commit(place, "Main", "c.txt")
    git(place, "merge", "--quiet", "--no-ff", "-m", "Merge side", "side")
    found = {d.title: d.text for d in documents(place)}
    imported = next(text for title, text in found.items() if title.startswith("Import"))
    assert imported.endswith("lib/019.txt\nand 30 more files\n```")
    assert found[SIDE] == f"{SIDE}\n\n```\n{'0' * 40}\na?b.txt\n```"
    assert found["Merge side"] == "Merge side"
    assert len(found) == 4


def test_a_shallow_clone_says_what_is_missing(place: Path, tmp_path: Path) -> None:
    for name in "abc":
        commit(place, f"Add {name}", f"{name}.txt")
    git(tmp_path, "clone", "--quiet", "--depth", "2", f"file://{place}", "shallow")
    refused, boundary, last = open_source(f"git:{tmp_path / 'shallow'}").documents()
    assert isinstance(refused, Refusal)
    assert "shallow clone" in str(refused)
    assert "--unshallow" in str(refused)
    assert isinstance(boundary, Document)
    assert boundary.text == "Add b"
    assert isinstance(last, Document)
    assert last.text == "Add c\n\n```\n1 changed\n```"


def test_commits_without_words_or_with_odd_dates(place: Path) -> None:
    commit(place, "", "a.txt")
    commit(place, "")
    tree = git(place, "write-tree")
    raw = f"tree {tree}\nauthor A <a@b> 99999999999999 +0000\ncommitter A <a@b> 1 +0000\nencoding latin-1\n\ncaf"
    name = git(place, "hash-object", "-t", "commit", "-w", "--stdin", "--literally", stdin=raw.encode() + b"\xe9 \xff")
    git(place, "update-ref", "refs/heads/main", name)
    (odd,) = open_source(f"git:{place}").documents()
    assert isinstance(odd, Document)
    assert (odd.title, odd.time_ns) == ("café ÿ", None)
    git(place, "update-ref", "refs/heads/main", git(place, "rev-parse", "HEAD@{1}"))
    unnamed, refused = open_source(f"git:{place}").documents()
    assert isinstance(unnamed, Document)
    assert unnamed.title == unnamed.id[:12]
    assert isinstance(refused, Refusal)
    assert "text is empty" in str(refused)


def test_no_program_that_a_repository_names_is_run(place: Path, tmp_path: Path) -> None:
    commit(place, "One", "a.txt")
    commit(place, "Two", "a.txt")
    trap = tmp_path / "trap"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {trap}\n")
    program.chmod(0o755)
    for key in ("core.fsmonitor", "core.pager", "diff.external", "gpg.program", "core.sshCommand", "diff.x.textconv"):
        git(place, "config", key, str(program))
    git(place, "config", "log.showSignature", "true")
    git(place, "config", "diff.x.command", str(program))
    (place / ".gitattributes").write_text("* diff=x\n")
    assert len(documents(place)) == 2
    assert not trap.exists()


def test_another_users_repository_can_be_read(place: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give files away")
    commit(place, "One", "a.txt")
    os.chown(place / ".git", 65534, 65534)
    os.chown(place, 65534, 65534)
    assert len(documents(place)) == 1


def test_what_is_no_history_is_bad_input(place: Path, tmp_path: Path) -> None:
    (place / "inside").mkdir()
    for path, said in (
        (tmp_path, "is no git repository"),
        (tmp_path / "nowhere", "there is no folder"),
        (place, "no commit at HEAD yet"),
        (place / "inside", "is no git repository"),
    ):
        with pytest.raises(BadInput, match=said) as caught:
            open_source(f"git:{path}")
        assert caught.value.remedy
    (place / ".git" / "config").write_text("[core\nbroken")
    with pytest.raises(BadInput, match="bad config"):
        open_source(f"git:{place}")
    (place / ".git" / "config").write_text("[include]\npath = config\n[core]\nrepositoryformatversion = 0\n")
    with pytest.raises(BadInput, match="circular|include"):
        open_source(f"git:{place}")


def test_options_cannot_be_smuggled_in(tmp_path: Path) -> None:
    for spec in ("git:--help", "git:--output=x", "git:-c"):
        with pytest.raises(BadInput, match="no folder"):
            open_source(spec)


def test_without_git(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(place))
    with pytest.raises(PermanentError, match="git is not installed"):
        GitHistory(place)


def test_a_broken_object_stops_the_reading_with_its_name(place: Path) -> None:
    first = commit(place, "One", "a.txt")
    commit(place, "Two", "b.txt")
    tree = git(place, "rev-parse", f"{first}^{{tree}}")
    path = place / ".git" / "objects" / tree[:2] / tree[2:]
    path.chmod(0o644)
    path.write_bytes(b"garbage")
    *_, last = open_source(f"git:{place}").documents()
    assert isinstance(last, Refusal)
    assert "reading stopped" in str(last)
    assert "git fsck" in str(last)


def test_a_huge_message_is_refused_and_the_rest_goes_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(place, "One", "a.txt")
    commit(place, "x" * 50_000)
    commit(place, "Three")
    monkeypatch.setattr(module, "LARGEST_TEXT_BYTES", 10_000)
    one, refused, three = open_source(f"git:{place}").documents()
    assert isinstance(refused, Refusal)
    assert "larger than 10000 bytes" in str(refused)
    assert isinstance(one, Document)
    assert isinstance(three, Document)
    assert three.text == "Three"
