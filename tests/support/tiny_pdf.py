"""PDFs written by hand: pages of text, pages without, metadata, and the ways in which they can be wrong."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

Object = bytes


def tiny_pdf(
    pages: Sequence[str | None],
    *,
    title: str = "",
    created: str = "",
    streams: dict[int, bytes] | None = None,
    encrypt: bool = False,
) -> bytes:
    """Return a PDF with one page a text (None: a page without); ``streams`` replaces the encoded content of pages by number."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects: list[Object] = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        resources = "<< /Font << /F1 3 0 R >> >>"
        content = f"{5 + 2 * number} 0 R"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {content} /Resources {resources} >>".encode()
        )
        given = (streams or {}).get(number)
        data = zlib.compress(_drawn(text)) if given is None else given
        objects.append(b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(data), data))
    info = f"<< /Title ({title}) " + (f"/CreationDate ({created}) " if created else "") + ">>"
    objects.append(info.encode())
    extra = f"/Info {len(objects)} 0 R"
    if encrypt:
        objects.append(
            b"<< /Filter /Standard /V 1 /R 2 /Length 40 /P -44 /O <" + b"ab" * 32 + b"> /U <" + b"cd" * 32 + b"> >>"
        )
        extra += f" /Encrypt {len(objects)} 0 R /ID [<00> <00>]"
    return _file(objects, extra)


def _drawn(text: str | None) -> bytes:
    if text is None:
        return b"0 0 100 100 re f"
    lines = "".join(f"({line}) Tj T* " for line in text.split("\n"))
    return f"BT /F1 12 Tf 14 TL 72 720 Td {lines}ET".encode("latin-1")


def _file(objects: Sequence[Object], extra: str) -> bytes:
    data = b"%PDF-1.4\n"
    offsets = []
    for number, one in enumerate(objects, 1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    start = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    data += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return data + f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R {extra} >>\nstartxref\n{start}\n%%EOF\n".encode()
