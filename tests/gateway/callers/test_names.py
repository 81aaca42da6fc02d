"""Which pages a server that asks for no key takes for its own."""

import pytest

from gateway.routes.names import is_strange
from gateway.settings import SettingsError, load_settings

HOSTS = frozenset({"chat.example"})


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example:8420"},  # no browser: a proxy keeps the name it was called by
        {"host": "localhost:8420", "origin": "http://localhost:8420"},
        {"host": "127.0.0.1:8420", "origin": "http://localhost:5173", "sec-fetch-site": "same-site"},
        {"host": "[::1]:8420", "origin": "http://[::1]:8420"},
        {"host": "chat.example", "origin": "https://chat.example", "sec-fetch-site": "same-origin"},
        {"host": "127.0.0.1:8420", "origin": "https://chat.example"},
        {"host": "127.0.0.1:8420", "origin": "app://editor"},
        {"host": "127.0.0.1:8420", "origin": "null"},
    ],
    ids=str,
)
def test_pages_of_this_machine_and_of_named_hosts_are_not_strange(headers: dict[str, str]) -> None:
    assert not is_strange(headers, HOSTS)


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example:8420", "origin": "http://evil.example:8420"},
        {"host": "evil.example", "sec-fetch-site": "same-origin"},
        {"host": "evil.example", "origin": "null"},
        {"host": "127.0.0.1:8420", "origin": "http://evil.example"},
        {"host": "127.0.0.1:8420", "origin": "http://127.0.0.1.evil.example"},
        {"host": "127.0.0.1:8420", "origin": "http://localhost@evil.example"},
        {"host": "127.0.0.1:8420", "origin": "HTTP://evil.example".lower()},
        {"host": "chat.example.evil.example", "origin": "https://chat.example"},
        {"host": "[::1", "origin": "http://localhost"},
        {"origin": "http://localhost"},
    ],
    ids=str,
)
def test_pages_of_other_names_are(headers: dict[str, str]) -> None:
    assert is_strange(headers, HOSTS)


def test_hosts_are_names() -> None:
    with pytest.raises(SettingsError, match="hosts"):
        load_settings({"hosts": ["https://chat.example"]}, environ={})
