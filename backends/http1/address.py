"""Where a URL leads. A plain one is read here; httpx, 70 modules and 7 MB, is loaded for others alone."""

import re
from dataclasses import dataclass

# No capitals, no escapes, no dot at the beginning of a part: nothing that is to be normalised.
_PLAIN = re.compile(r"(https?)://([a-z0-9._-]+)(?::([1-9][0-9]{0,4}))?((?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?)")
_USUAL = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of an http(s) URL, as they are sent."""

    is_tls: bool
    host: str
    port: int
    netloc: str  # without the port that the scheme has anyway
    target: bytes


def address_of(url: str) -> Address:
    """Raises ValueError for what is no URL."""
    found = _PLAIN.fullmatch(url)
    if found is None or int(found[3] or 0) > 65535:
        return _read_by_httpx(url)
    scheme, host, said, path = found.groups()
    port = int(said or _USUAL[scheme])
    netloc = host if port == _USUAL[scheme] else f"{host}:{port}"
    return Address(scheme == "https", host, port, netloc, (path or "/").encode("ascii"))


def _read_by_httpx(text: str) -> Address:
    import httpx

    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise ValueError("not an http:// or https:// URL") from error
    is_tls = url.scheme == "https"
    port = url.port or _USUAL["https" if is_tls else "http"]
    return Address(is_tls, url.raw_host.decode("ascii"), port, url.netloc.decode("ascii"), url.raw_path)
