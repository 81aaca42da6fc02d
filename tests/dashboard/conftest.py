"""A real browser and a real gateway, shared by the tests of a module.

    def test_the_thing_is_shown(page: Page, gateway: Gateway) -> None:
        open_view(page, gateway, "entries")
        expect(page.get_by_role("heading", name="Entries")).to_be_visible()

A page fails its test when anything was written to the console as an error: a script that broke, or something that the
Content-Security-Policy stopped. `PHONE` and `DESK` are sizes for `page.set_viewport_size`.
"""

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator

import pytest

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.e2e.server import Gateway, running_gateway
from tests.upstream import RunningUpstream, running_upstream

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
# A sandbox needs privileges that a container lacks; the pages here are ours.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb"]
# What a browser does behind its user's back, and processes of its own for what one can do: half of what it costs here.
THRIFT = [
    "--no-first-run",
    "--no-default-browser-check",
    "--no-startup-window",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--renderer-process-limit=1",
    "--process-per-site",
    "--in-process-gpu",
    "--disable-features=Translate,OptimizationHints,MediaRouter",
]
PATIENCE_MS = 15_000
# What a visitor leaves behind; the address of no view, so that the next one is drawn anew.
FORGET = """() => {
    localStorage.clear();
    document.querySelectorAll("dialog, .toast").forEach((element) => element.remove());
    location.hash = "#/nowhere";
}"""


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a browser that all modules of a worker share: it takes a second of the processor to start."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here (apt-get install chromium)")
    profile = tmp_path_factory.mktemp("chromium")
    command = [CHROMIUM, "--headless", "--remote-debugging-port=0", f"--user-data-dir={profile}", *FLAGS, *THRIFT]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"DevTools listening on (\S+)", line):
                break
        else:
            raise AssertionError("Chromium did not start")
        reader = threading.Thread(target=process.stderr.read, daemon=True)  # so that what it says holds nobody up
        reader.start()
        yield found[1]
        process.terminate()
        process.wait()
        reader.join()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """The browser, driven. By each module anew: Playwright keeps an event loop of its own in the thread, which no
    asynchronous test of another module may meet."""
    with sync_playwright() as playwright:
        running = playwright.chromium.connect_over_cdp(chromium)
        yield running
        running.close()


@pytest.fixture(scope="module")
def upstream() -> Iterator[RunningUpstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(upstream: RunningUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """An exact cache in front of the test upstream: it starts at once."""
    folder = tmp_path_factory.mktemp("dashboard") / "data"
    with running_gateway(folder, "--upstream", upstream.base_url, cache__semantic="false") as running:
        running.wait("upstream")
        yield running


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """What pages share of a browser: its cache above all, which saves most of the time that one takes to open."""
    held = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce", locale="en-GB")
    held.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    yield held
    held.close()


@pytest.fixture(scope="module")
def tab(context: BrowserContext, gateway: Gateway) -> Iterator[Page]:
    """The one page of a module: to go from view to view in it takes a tenth of what a new one takes. It is closed
    before the gateway is: one with a live stream open waits for its reader as long as it waits for anybody."""
    opened = context.new_page()
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext, tab: Page) -> Iterator[Page]:
    """A page of a visitor who was never here, in front of a screen of ordinary size."""
    errors: list[str] = []
    on_error = lambda error: errors.append(str(error))  # noqa: E731
    on_console = lambda message: _note(message, errors)  # noqa: E731
    tab.on("pageerror", on_error)
    tab.on("console", on_console)
    tab.set_viewport_size({"width": 1280, "height": 800})
    tab.emulate_media(color_scheme="light")
    yield tab
    context.set_offline(False)
    context.clear_cookies()
    if tab.url.startswith("http"):
        tab.evaluate(FORGET)
    tab.remove_listener("pageerror", on_error)
    tab.remove_listener("console", on_console)
    assert not errors, errors


def _note(message: ConsoleMessage, errors: list[str]) -> None:
    """What a script or the policy complained of; that a server refused or is away is told by the page itself."""
    if message.type == "error" and "Failed to load resource" not in message.text and "net::ERR" not in message.text:
        errors.append(message.text)
