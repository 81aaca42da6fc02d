"""A running gateway's admin API, for the commands that ask one."""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gateway.cli.screen import dump, say
from gateway.identity.scope import ANONYMOUS, is_tenant
from gateway.settings import SettingsError, read_key

if TYPE_CHECKING:
    import httpx

DEFAULT_URL = "http://127.0.0.1:8420"
ATTEMPTS = 5
PAUSE_S = 0.5  # before the second attempt; twice as long before each that follows
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # statuses that may be gone the next time


class Failed(Exception):
    """A command cannot go on; the message says why. The exit status is 1."""


class Refused(Failed):
    """The gateway is there and says no."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def add_server(verb: argparse.ArgumentParser) -> None:
    """The flags of every command that asks a gateway."""
    verb.add_argument("--url", default=DEFAULT_URL, help=f"a running gateway ({DEFAULT_URL})")
    verb.add_argument("--admin-key-env", metavar="NAME", help="variable that holds the gateway's admin key")


def add_json(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--json", action="store_true", help="print JSON")


class Admin:
    """Asks one gateway. Threads may share it."""

    def __init__(self, url: str, client: "httpx.Client") -> None:
        self.url = url
        self.client = client
        self.has_answered = False  # whoever never did is not waited for

    def ask(self, method: str, path: str, **wishes: Any) -> Any:
        """What the gateway says, as JSON. Raises `Failed`."""
        import httpx

        try:
            response = self.client.request(method, path, **wishes)
            answer = response.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise Failed(f"no gateway answers at {self.url}: {said(error)}") from error
        self.has_answered = True
        if response.is_error:
            raise self.refusal(response.status_code, answer)
        return answer

    def insist(self, method: str, path: str, **wishes: Any) -> Any:
        """As `ask`; what may pass is tried again. Raises `Failed`."""
        for attempt in range(ATTEMPTS):
            try:
                return self.ask(method, path, **wishes)
            except Failed as failed:
                is_final = isinstance(failed, Refused) and failed.status not in PASSING
                if attempt == ATTEMPTS - 1 or is_final or not self.has_answered:
                    raise
                time.sleep(PAUSE_S * 2**attempt)
        raise AssertionError("unreachable")

    def refusal(self, status: int, answer: Any) -> Refused:
        error = answer.get("error") if isinstance(answer, dict) else None
        told = error.get("message", error) if isinstance(error, dict) else answer
        hint = "" if status != 401 else " (--admin-key-env NAME names the variable with its admin key, or a key's text)"
        return Refused(f"{self.url} answers {status}: {told}{hint}", status)


def said(error: Exception) -> str:
    return str(error) or type(error).__name__


@contextmanager
def admin(args: argparse.Namespace, *, timeout_s: float | None = 60.0) -> Iterator[Admin]:
    """The gateway that the flags name."""
    import httpx  # not by what merely knows the flags, as `serve` does

    key = read_key("--admin-key-env", args.admin_key_env or "")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    limits = httpx.Limits(max_connections=None)
    with httpx.Client(base_url=_address(args.url), timeout=timeout_s, headers=headers, limits=limits) as client:
        yield Admin(args.url, client)


def _address(url: str) -> "httpx.URL":
    """Where the admin API of a gateway is. Raises `SettingsError`."""
    import httpx

    try:
        address = httpx.URL(url.rstrip("/") + "/admin/api/")
    except (httpx.InvalidURL, ValueError) as error:
        raise SettingsError(f"--url {url} is no address: {said(error)}") from error
    if address.scheme not in ("http", "https") or not address.host:
        raise SettingsError(f"--url {url} is no address; write it like {DEFAULT_URL}")
    return address


def tenant_name(text: str) -> str:
    """A tenant, as the admin API shows it; the type of a flag."""
    if not is_tenant(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no tenant: 32 hexadecimal digits, or {ANONYMOUS}")
    return text


def tell(args: argparse.Namespace, answer: Any, render: Callable[[Any], str]) -> None:
    """Print an answer for whoever asked."""
    if args.json:
        dump(answer)
    else:
        say(render(answer))
