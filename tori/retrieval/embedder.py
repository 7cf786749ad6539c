"""Texts to unit vectors. Offline: the weights come with an installed package, nothing is downloaded.

A vector depends on its text alone, not on the texts beside it: sums run token by token in the text's order, so a
document embedded alone and in a batch of thousands has the same bytes on the same machine.
"""

from __future__ import annotations

import logging
import re
import zlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tori.errors import Unavailable

if TYPE_CHECKING:
    import numpy as np

_log = logging.getLogger(__name__)

_CHUNK = 512
"""Texts handled together; bounds the working memory of ``embed``."""
_MOST_WORDS = 100_000
"""Words whose tokens are remembered (about 20 MB); then it starts anew."""


@runtime_checkable
class Embedder(Protocol):
    """Port: whatever turns texts into unit vectors of one fixed size."""

    @property
    def name(self) -> str:
        """Name of the model, stored beside every vector it made."""

    @property
    def dimensions(self) -> int:
        """Length of a vector."""

    def embed(self, texts: list[str]) -> np.ndarray:
        """Return float32 (len(texts), dimensions), rows of unit norm; a text without tokens gives the first basis vector."""


class StaticEmbedder:
    """wordllama's 256-d static token vectors (MIT; Miller, WordLlama, 2024), mean-pooled over the tokens of a text.

    The two files are read from the installed package; the package itself is not imported (it sets up logging and
    compiled extensions, and its ``load`` looks in the wrong folder). The weights stay memory-mapped float16, shared by
    all processes of a machine; the tokenizer costs about 20 MB a process.

    Raises Unavailable when the package or one of its files is missing.
    """

    name = "wordllama-l2-supercat-256"
    dimensions = 256

    def __init__(self) -> None:
        from tokenizers import Tokenizer

        files = _package_files("wordllama", ("l2_supercat_256.safetensors", "l2_supercat_tokenizer_config.json"))
        self._weights = _map_safetensors(files[0], self.dimensions)
        self._tokenizer = Tokenizer.from_file(str(files[1]))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokens: dict[str, list[int]] = {}

    def embed(self, texts: list[str]) -> np.ndarray:
        import numpy as np

        out = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for start in range(0, len(texts), _CHUNK):
            chunk = texts[start : start + _CHUNK]
            out[start : start + len(chunk)] = self._pool(chunk)
        return _unit_rows(out)

    def _pool(self, texts: list[str]) -> np.ndarray:
        """Return the sum of the token vectors of each text: a mean up to the norm, which is divided out anyway."""
        import numpy as np
        from scipy.sparse import csr_array

        words = [text.split() for text in texts]
        self._learn({w for held in words for w in held})
        tokens = self._tokens
        borders = [0]
        flat: list[int] = []
        for held in words:
            for word in held:
                flat += tokens[word]
            borders.append(len(flat))
        if not flat:
            return np.zeros((len(texts), self.dimensions), dtype=np.float32)
        numbers = np.minimum(np.asarray(flat, dtype=np.int64), len(self._weights) - 1)
        used, columns = np.unique(numbers, return_inverse=True)
        shape = (len(texts), len(used))
        counts = csr_array((np.ones(len(flat), dtype=np.float32), columns, np.asarray(borders)), shape=shape)
        pooled: np.ndarray = counts @ self._weights[used].astype(np.float32)
        return pooled

    def _learn(self, words: set[str]) -> None:
        """Tokenize the words not met before. No token reaches across white space, so words can be taken one by one."""
        if len(self._tokens) > _MOST_WORDS:
            self._tokens.clear()
        new = sorted(w for w in words if w not in self._tokens)
        found = self._tokenizer.encode_batch_fast(new, add_special_tokens=False)
        self._tokens.update(zip(new, (e.ids for e in found), strict=True))


class HashingEmbedder:
    """Signed feature hashing of lower-case words (Weinberger et al., ICML 2009): no weights, no meaning beyond shared words.

    For tests, and the declared fallback where wordllama is not installed.
    """

    def __init__(self, dimensions: int = 64) -> None:
        self.dimensions = dimensions
        self.name = f"hashing-{dimensions}"

    def embed(self, texts: list[str]) -> np.ndarray:
        import numpy as np

        out = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()):
                bits = zlib.crc32(word.encode("utf-8", "replace"))
                out[row, bits % self.dimensions] += 1.0 if bits >> 31 else -1.0
        return _unit_rows(out)


@cache
def get_embedder() -> Embedder:
    """Return the embedder of this process: StaticEmbedder, or HashingEmbedder(256) with a warning where it is missing."""
    try:
        return StaticEmbedder()
    except Unavailable as error:
        _log.warning("%s Vectors now come from hashed words.", error)
        return HashingEmbedder(256)


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    """Divide rows by their norm in place; a row that is zero or not finite becomes the first basis vector."""
    import numpy as np

    norms = np.sqrt(np.square(rows).sum(axis=1))
    empty = ~(norms > 1e-12) | ~np.isfinite(norms)
    rows[empty] = 0.0
    rows[empty, :1] = 1.0
    norms[empty] = 1.0
    rows /= norms[:, None]
    return rows


def _package_files(package: str, names: tuple[str, ...]) -> list[Path]:
    """Return where the installed ``package`` keeps its files ``names``, without importing it."""
    from importlib import metadata

    remedy = f"Install it with: pip install {package}"
    try:
        listed = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        raise Unavailable(f"The package {package} is not installed.", remedy=remedy) from None
    paths = {f.name: Path(str(f.locate())) for f in listed if f.name in names}
    for name in names:
        if name not in paths or not paths[name].is_file():
            raise Unavailable(f"The package {package} has no file {name}.", remedy=remedy)
    return [paths[name] for name in names]


def _map_safetensors(path: Path, dimensions: int) -> np.ndarray:
    """Return the only float16 matrix of a safetensors file, mapped read-only: (rows, dimensions).

    Layout: 8 bytes little-endian header length, JSON header, tensors (github.com/huggingface/safetensors, Format).
    """
    import msgspec
    import numpy as np

    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = msgspec.json.decode(file.read(length))
    tensors = [t for name, t in header.items() if name != "__metadata__"]
    if len(tensors) != 1 or tensors[0]["dtype"] != "F16" or tensors[0]["shape"][1] != dimensions:
        raise Unavailable(f"{path.name} does not hold one float16 matrix of {dimensions} columns.")
    offset = 8 + length + tensors[0]["data_offsets"][0]
    return np.memmap(path, dtype="<f2", mode="r", offset=offset, shape=tuple(tensors[0]["shape"]))
