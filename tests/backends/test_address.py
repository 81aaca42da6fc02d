"""A plain URL is read as httpx reads it, which is loaded for others alone."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.http1 import address
from backends.http1.address import address_of

URLS = st.from_regex(r"\Ahttps?://[a-zA-Z0-9.\[\]:_-]{1,12}(:[0-9]{1,5})?(/[a-zA-Z0-9._~%?@-]{0,5}){0,4}\Z")


@given(URLS)
def test_an_address_is_read_as_httpx_reads_it(url: str) -> None:
    try:
        right = httpx.URL(url)
    except httpx.InvalidURL:
        with pytest.raises(ValueError, match="not an http"):
            address_of(url)
        return
    found = address_of(url)

    assert found.host.encode() == right.raw_host
    assert (found.netloc.encode(), found.target) == (right.netloc, right.raw_path)
    assert found.port == (right.port or (443 if found.is_tls else 80))
    assert found.is_tls == (right.scheme == "https")


@pytest.mark.parametrize("url", ["http://upstream:8000/v1", "https://api.example.com/v1beta/openai", "http://10.0.0.1"])
def test_usual_addresses_are_plain(url: str) -> None:
    assert address._PLAIN.fullmatch(url)
