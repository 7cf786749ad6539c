"""The embedder port: unit rows for every text, one vector for one text whatever stands beside it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tori.errors import Unavailable
from tori.retrieval import embedder as under_test
from tori.retrieval.embedder import Embedder, HashingEmbedder, StaticEmbedder, get_embedder

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), max_size=6)


@given(TEXTS)
@settings(deadline=None, max_examples=60)
@pytest.mark.parametrize("embedder", [HashingEmbedder(16), get_embedder()], ids=lambda e: e.name)
def test_rows_are_unit_and_finite_for_every_text(embedder: Embedder, texts: list[str]) -> None:
    rows = embedder.embed(texts)
    assert rows.shape == (len(texts), embedder.dimensions)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    assert np.allclose((rows**2).sum(axis=1), 1.0, atol=1e-5)


@given(TEXTS, st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
@settings(deadline=None, max_examples=60)
@pytest.mark.parametrize("embedder", [HashingEmbedder(16), get_embedder()], ids=lambda e: e.name)
def test_a_vector_does_not_depend_on_its_neighbours(embedder: Embedder, texts: list[str], text: str) -> None:
    alone = embedder.embed([text])[0]
    among = embedder.embed([*texts, text])[-1]
    assert alone.tobytes() == among.tobytes()


def test_static_vectors_know_meaning() -> None:
    a, b, c = get_embedder().embed(["a dog ran home", "the puppy came back to the house", "tax law of 1913"])
    assert a @ b > a @ c + 0.1


def test_static_vector_is_the_mean_of_its_tokens() -> None:
    embedder = StaticEmbedder()
    ids = embedder._tokenizer.encode("global interpreter lock", add_special_tokens=False).ids
    mean = embedder._weights[ids].astype(np.float32).mean(axis=0)
    assert np.allclose(embedder.embed(["global interpreter lock"])[0], mean / np.linalg.norm(mean), atol=1e-5)


def test_words_can_be_tokenized_one_by_one() -> None:
    embedder = StaticEmbedder()
    text = "PEP 703's ``--disable-gil`` build, naïve Ünïcode: 3.13t (x86_64)! 日本語 <0x0A> __init__.py"
    whole = embedder._tokenizer.encode(text, add_special_tokens=False).ids
    embedder.embed([text])
    assert [i for word in text.split() for i in embedder._tokens[word]] == whole


def test_the_memory_of_words_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_MOST_WORDS", 2)
    embedder = StaticEmbedder()
    first = embedder.embed(["alpha beta gamma delta"])
    embedder.embed(["epsilon"])
    assert set(embedder._tokens) == {"epsilon"}
    assert embedder.embed(["alpha beta gamma delta"]).tobytes() == first.tobytes()


def test_empty_texts_share_one_fixed_vector() -> None:
    for embedder in (HashingEmbedder(8), get_embedder()):
        rows = embedder.embed(["", ""])
        assert rows[0].tobytes() == rows[1].tobytes()
        assert rows[0, 0] == 1.0
        assert rows[0, 1:].sum() == 0.0


def test_more_texts_than_a_chunk() -> None:
    rows = get_embedder().embed([f"text {i}" for i in range(1100)])
    assert rows[1099].tobytes() == get_embedder().embed(["text 1099"])[0].tobytes()


def test_one_embedder_a_process() -> None:
    assert get_embedder() is get_embedder()
    assert isinstance(get_embedder(), Embedder)
    assert get_embedder().name == "wordllama-l2-supercat-256"


def test_missing_package_falls_back_by_name(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def missing(package: str, names: tuple[str, ...]) -> list[Path]:
        raise Unavailable("The package wordllama is not installed.", remedy="Install it.")

    monkeypatch.setattr(under_test, "_package_files", missing)
    get_embedder.cache_clear()
    try:
        assert get_embedder().name == "hashing-256"
        assert "not installed" in caplog.text
    finally:
        get_embedder.cache_clear()


def test_missing_files_are_named() -> None:
    with pytest.raises(Unavailable, match="no-such-package"):
        under_test._package_files("no-such-package", ("x",))
    with pytest.raises(Unavailable, match=r"no file x\.bin"):
        under_test._package_files("numpy", ("x.bin",))


def test_foreign_weights_are_refused(tmp_path: Path) -> None:
    header = b'{"w":{"dtype":"F32","shape":[1,4],"data_offsets":[0,16]}}'
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    with pytest.raises(Unavailable, match=r"w\.safetensors"):
        under_test._map_safetensors(path, 4)


def test_importing_the_port_loads_no_science() -> None:
    code = "import sys, tori.retrieval.embedder; print([m for m in ('numpy','scipy','tokenizers') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
