"""`POST /admin/api/models` loads a folder of this machine or a checkpoint of the hub, and reaches for nothing else."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.server import Gateway, running_gateway
from tests.loopback import LOOPBACK

TOKEN = "hf_0123456789abcdef"
NOWHERE = "http://127.0.0.1:9"


@dataclass
class Heard:
    """A server that notes what it is asked, with which token, and answers 404, or sends elsewhere."""

    url: str = ""
    sends_to: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)  # path, token


class _Handler(BaseHTTPRequestHandler):
    heard: Heard

    def do_GET(self) -> None:
        self.heard.asked.append((self.path, self.headers.get("authorization", "")))
        to = self.heard.sends_to
        self.send_response(307 if to else 404)
        if to:
            self.send_header("location", to + self.path)
        self.send_header("content-length", "0")
        self.end_headers()

    do_HEAD = do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def hearing(sends_to: str = "") -> Iterator[Heard]:
    heard = Heard(sends_to=sends_to)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("_Own", (_Handler,), {"heard": heard}))
    heard.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True)
class Site:
    """A gateway whose hub is `hub`, and a server that nobody has named to it."""

    gateway: Gateway
    hub: Heard
    canary: Heard

    def post(self, source: str, **settings: Any) -> httpx.Response:
        body = {"source": source, "name": "tried", "settings": settings}
        return self._admin("POST", "", json=body)

    def outcome(self, source: str) -> str:
        """What the report says of it, when it has failed; it is unloaded then."""
        assert self.post(source).status_code == 202
        report = self._until(lambda said: said.get("state") == "failed")
        self._admin("DELETE", "/tried")
        self._until(lambda said: "error" in said)
        return str(report["detail"])

    def _until(self, holds: Any) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while not holds(said := self._admin("GET", "/tried").json()):
            assert time.monotonic() < deadline, said
            time.sleep(0.01)
        return dict(said)

    def _admin(self, verb: str, path: str, **more: Any) -> httpx.Response:
        ours = {"x-twicetold-admin": "1"}
        return httpx.request(
            verb, f"{self.gateway.url}/admin/api/models{path}", headers=ours, timeout=60, **LOOPBACK, **more
        )


@contextmanager
def site(folder: Path, *, redirects: bool = False) -> Iterator[Site]:
    with hearing() as canary, hearing(canary.url if redirects else "") as hub, pytest.MonkeyPatch.context() as patch:
        for name, text in (("HF_ENDPOINT", hub.url), ("HF_HOME", str(folder / "hf")), ("HF_TOKEN", TOKEN)):
            patch.setenv(name, text)
        patch.setenv("HF_HUB_DISABLE_XET", "1")
        with running_gateway(folder / "data", "--upstream", NOWHERE, cache__semantic="false") as gateway:
            yield Site(gateway, hub, canary)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("sources")) as one:
        yield one


# No folder, and no ORG/NAME: nobody is asked.
CROOKED = (
    "file:///etc/passwd", "file:/etc/passwd", "FILE://localhost/etc", "http://{canary}/x", "https://{canary}/a/b",
    "HTTP://{canary}/", "//{canary}/x", "ftp://{canary}/x", "s3://bucket/key", "hf://org/name", "git+ssh://{canary}/x",
    "http://169.254.169.254/latest/meta-data", "http://[::ffff:169.254.169.254]/", "../x", "../../../nowhere",
    "demo/../../nowhere", "org/name@../../x", "org/name@http://{canary}/", "@/etc/passwd", "/dev/stdin", "/etc/passwd",
    "C:\\x", "\\\\evil\\share", " ", "~/nowhere/at/all",
)  # fmt: skip
# Spelled like ORG/NAME with a host or a path in it: the hub is asked, if anybody, and for that name.
LIKE_NAMES = ("http:/x", "file:/etc", "a/..", "../..x", "demo/", "-x/y", "a/b?x=1", "a/b#x", "{canary}/x", "a/b%2f..")
HOSTS = ("169.254.169.254/latest", "localhost/x", "metadata.google.internal/computeMetadata", "a/b@..")


@pytest.mark.parametrize("source", CROOKED, ids=range(len(CROOKED)))
def test_a_source_that_is_no_folder_and_no_name_leads_nowhere(plain: Site, source: str) -> None:
    before = len(plain.hub.asked)
    said = plain.outcome(source.replace("{canary}", plain.canary.url.removeprefix("http://")))

    assert said.endswith("is neither a directory nor ORG/NAME of a Hugging Face checkpoint")
    assert plain.canary.asked == []
    assert len(plain.hub.asked) == before


@pytest.mark.parametrize("source", [*LIKE_NAMES, *HOSTS], ids=range(len(LIKE_NAMES) + len(HOSTS)))
def test_a_name_that_looks_like_a_host_or_a_path_is_asked_of_the_hub_at_most(plain: Site, source: str) -> None:
    before = len(plain.hub.asked)
    said = plain.outcome(source.replace("{canary}", plain.canary.url.removeprefix("http://")))

    assert "hub" in said or "neither a directory nor" in said
    assert plain.canary.asked == []
    assert all(path.startswith("/api/") and ".." not in path for path, _ in plain.hub.asked[before:])


@pytest.mark.parametrize("source", ["/etc", "/usr", "..", "/"])
def test_a_folder_that_is_no_checkpoint_is_not_read(plain: Site, source: str) -> None:
    assert plain.outcome(source).endswith("has no config.json")


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"kv_redis": "http://169.254.169.254/"}, "settings.kv_redis"),
        ({"kv_redis": "file:///etc/passwd"}, "settings.kv_redis"),
        ({"kv_redis": "redis://169.254.169.254:6379/0"}, "settings.kv_redis"),
        ({"warm_prompts": ["@/etc/passwd"]}, "settings.warm_prompts"),
        ({"public_prompts": "@/etc/passwd"}, "settings.public_prompts"),
        ({"upstream": "http://169.254.169.254/"}, "settings.upstream"),
        ({"device": "../x"}, "settings.device"),
        ({"weights": "/etc/passwd"}, "settings.weights"),
    ],
    ids=["http", "file", "redis", "warm-file", "public-file", "upstream", "device", "weights"],
)
def test_a_setting_that_would_lead_elsewhere_is_refused_by_its_name(
    plain: Site, settings: dict[str, Any], field: str
) -> None:
    said = plain.post("demo", **settings)

    assert said.status_code == 400, said.text
    assert said.json()["error"]["param"] == field
    assert field in said.json()["error"]["message"] or "configuration only" in said.json()["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"source": ""},
        {"source": 7},
        {},
        {"source": "x" * 5000},
        {"source": ["demo"]},
        {"source": "demo\nmodel demo is loaded"},
        {"source": "a\x00b"},
    ],
)
def test_a_source_that_is_no_text_is_refused_by_its_name(plain: Site, body: dict[str, Any]) -> None:
    said = plain._admin("POST", "", json=body)

    assert (said.status_code, said.json()["error"]["param"]) == (400, "source")


@pytest.mark.parametrize("source", ["x" * 4000, "~nobody-of-this-name/x"], ids=["long", "user"])
def test_a_source_that_no_folder_can_have_is_told_as_that(plain: Site, source: str) -> None:
    assert "is no name of a folder" in plain.outcome(source)


def test_a_hub_that_sends_elsewhere_is_told_the_token_and_elsewhere_is_not(tmp_path: Path) -> None:
    with site(tmp_path, redirects=True) as one:
        one.outcome("org/name")

        assert any(TOKEN in token for _, token in one.hub.asked)
        assert not any(TOKEN in token for _, token in one.canary.asked)
