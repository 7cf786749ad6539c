"""A package: the documents of a source, read where they are and carried to where the system is.

A laptop that knows an address and a token reads its files itself, so ids and times are what `tori ingest` gives them there, and
what cannot be taken is refused before anything travels. A zip file of batches (msgpack) with a manifest; its size is bounded.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tori.errors import BadInput
from tori.events.document import Document
from tori.sources.base import Refusal, Source

SUFFIX = ".tori.zip"
MAX_PACKAGE_BYTES = 200 << 20
"""Ray keeps a package in the memory of its head while the job lives; larger sources go in several, or with `tori ingest` there."""
MAX_UNPACKED_BYTES = 4 << 30
MAX_BATCH_BYTES = 64 << 20
_BATCH_DOCUMENTS = 32
_BATCH_CHARACTERS = 1 << 20
_MANIFEST = "manifest.json"
_REFUSALS_KEPT = 1000


class Manifest(msgspec.Struct):
    """What a package says of itself."""

    source: str
    documents: int = 0
    batches: int = 0
    characters: int = 0
    refused: int = 0
    refusals: list[str] = []
    """Sentences, the first 1,000."""
    format: int = 1


def pack(source: Source, path: Path, max_bytes: int = MAX_PACKAGE_BYTES) -> Manifest:
    """Write the documents of ``source`` into a package at ``path``; raises BadInput when it grows over ``max_bytes``."""
    manifest = Manifest(source.name)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
        for batch in _batches(source, manifest):
            archive.writestr(f"{manifest.batches:06d}.msgpack", msgspec.msgpack.encode(batch))
            manifest.batches += 1
            if archive.fp is not None and archive.fp.tell() > max_bytes:
                raise BadInput(
                    f"{source.name} makes a package of more than {max_bytes >> 20} MiB.",
                    remedy="Submit its folders one by one, or raise --max-mb.",
                )
        archive.writestr(_MANIFEST, msgspec.json.encode(manifest))
    if not manifest.documents:
        named = f" ({manifest.refusals[0]})" if manifest.refusals else ""
        raise BadInput(f"there is no document to take in {source.name}{named}.", remedy="Give another folder or file.")
    return manifest


def _batches(source: Source, manifest: Manifest) -> Iterator[list[Document]]:
    batch: list[Document] = []
    characters = 0
    for item in source.documents():
        if isinstance(item, Refusal):
            manifest.refused += 1
            if len(manifest.refusals) < _REFUSALS_KEPT:
                manifest.refusals.append(str(item))
            continue
        batch.append(item)
        manifest.documents += 1
        manifest.characters += len(item.text)
        characters += len(item.text)
        if len(batch) >= _BATCH_DOCUMENTS or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


class Package(Source):
    """The documents of a package, in the order in which they were packed."""

    unit = "documents"

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        try:
            with zipfile.ZipFile(path) as archive:
                size = sum(info.file_size for info in archive.infolist())
                largest = max((info.file_size for info in archive.infolist()), default=0)
                if size > MAX_UNPACKED_BYTES or largest > MAX_BATCH_BYTES:
                    raise BadInput(
                        f"{path.name} unpacks to {size} bytes.", remedy="It was not made by tori submit: pack it again."
                    )
                self.manifest = msgspec.json.decode(archive.read(_MANIFEST), type=Manifest)
        except (OSError, KeyError, zipfile.BadZipFile, msgspec.DecodeError) as error:
            raise BadInput(
                f"{path.name} is not a package of documents: {error}.", remedy="Make it with tori submit ingest."
            ) from error

    def total(self) -> int:
        return self.manifest.documents

    def documents(self) -> Iterator[Document | Refusal]:
        self.position = 0
        decoder = msgspec.msgpack.Decoder(list[Document])
        with zipfile.ZipFile(self._path) as archive:
            for number in range(self.manifest.batches):
                name = f"{number:06d}.msgpack"
                try:
                    batch = decoder.decode(archive.read(name))
                except (KeyError, zipfile.BadZipFile, msgspec.DecodeError) as error:
                    yield Refusal(f"{self._path.name}: {name}", f"the batch cannot be read: {error}.", "Pack it again.")
                    continue
                for document in batch:
                    self.position += 1
                    yield document
