"""What an alert is addressed with, looked at before anything is sent: a URL and a secret that a request can carry."""

from __future__ import annotations

from urllib.parse import urlsplit

from tori.errors import BadSettings

SECRET = "TORI_WEBHOOK_SECRET"
"""Variable that holds the secret."""


def place_of(url: str) -> str:
    """Return scheme, host and port of a webhook's URL: where it is, without what may be a secret.

    Raises BadSettings for a URL that no request can go to; its message repeats nothing of the path.
    """
    if not all("!" <= character <= "~" for character in url):
        raise BadSettings(
            "alerts.webhook_url holds characters that are not plain ASCII.",
            remedy="Write them as %XX in the path, and a host name as xn--...",
        )
    try:
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")  # as the resolver does with each label of a name
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise BadSettings(
            "alerts.webhook_url names no host and port that can be.",
            remedy="Write https://HOST:PORT/PATH: labels of 1 to 63 characters, an IPv6 address in brackets.",
        ) from error
    if not is_good or parts.username is not None:
        raise BadSettings(
            "alerts.webhook_url is no http or https URL without a user in it.", remedy=f"A secret goes into {SECRET}."
        )
    return f"{parts.scheme}://{parts.netloc}"


def secret_of(text: str) -> str:
    """Return a secret without the blanks and line ends around it, as they come from a file.

    Raises BadSettings for one that no header can carry; its message repeats nothing of the secret.
    """
    secret = text.strip()
    if not secret.isprintable() or any(character > "\xff" for character in secret):
        raise BadSettings(
            f"{SECRET} holds a line break or a character that no HTTP header can carry.",
            remedy="Set it again, in letters, digits and signs of one line.",
        )
    return secret
