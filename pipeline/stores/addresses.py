"""Addresses: where a server of somebody else is, as a setting names it.

Owns: which URLs are read, and that a user and password in one travel in a header.
Does not own: what is asked there (registry.py, tax_engine.py).
"""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from pipeline.core.errors import BadInput


@dataclass(frozen=True, slots=True)
class Address:
    """A URL without user and query, and the headers to send there."""

    url: str
    headers: Mapping[str, str]


def read_address(url: str, setting: str, example: str) -> Address:
    """Return the address that a setting names.

    Raises:
        BadInput: no http or https URL.

    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not _has_port(parts):
        raise BadInput(f"{setting}: {url!r} is no URL such as {example}")
    user, _, host = parts.netloc.rpartition("@")
    headers = {}
    if user:
        headers["Authorization"] = "Basic " + b64encode(unquote(user).encode()).decode()
    return Address(parts._replace(netloc=host, query="", fragment="").geturl().rstrip("/"), headers)


def _has_port(parts: SplitResult) -> bool:
    """Return whether a URL's port is one, or left out."""
    try:
        return parts.port is None or parts.port > 0
    except ValueError:
        return False
