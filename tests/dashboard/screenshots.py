"""Pictures of the dashboard for the documentation: `make screenshots` writes docs/images/*.png.

Nothing in them is made up: a gateway with the bundled model answers questions, some of them asked again in other words.
"""

import random
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path

import httpx
from playwright.sync_api import Browser, sync_playwright

from tests.dashboard.conftest import CHROMIUM, FLAGS
from tests.e2e.server import Gateway, running_gateway
from tests.loopback import LOOPBACK

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SYSTEM = "You answer questions about caching, in one or two sentences."
QUESTIONS = (
    ("What is prefix caching?", "what is prefix caching", "Please tell me: what is prefix caching?"),
    ("How does a semantic cache work?", "Could you tell me how a semantic cache works?"),
    ("What is a KV cache?", "What is a KV cache, please?"),
    ("Why do cached answers expire?", "why do cached answers expire??"),
    ("How do I clear the cache?", "Hi! How do I clear the cache?"),
    ("What does TTL mean?", "what does TTL mean"),
    ("When is a cache hit wrong?",),
    ("What is the difference between LRU and LFU?",),
    ("What is time to first token?", "what is time to first token"),
    ("How are tenants kept apart?",),
)
VIEWS = {
    "overview": "overview",
    "entries": "entries",
    "quality": "quality",
    "kv": "kv",
    "backends": "backends",
    "requests": "requests",
    "prices": "prices",
}


def main() -> int:
    """Make them all. Returns the exit status."""
    if CHROMIUM is None:
        print("no Chromium here (apt-get install chromium)", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder, running_gateway(Path(folder) / "data") as gateway:
        gateway.wait("semantic", within_s=120)
        _price(gateway)
        _talk(gateway)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            _shoot_all(browser, gateway)
            browser.close()
    return 0


def _price(gateway: Gateway) -> None:
    prices = {"currency": "USD", "models": {"demo": {"prompt": 2.5, "cached_prompt": 1.25, "completion": 10}}}
    httpx.put(f"{gateway.url}/admin/api/prices", json=prices, timeout=30, **LOOPBACK).raise_for_status()


def _talk(gateway: Gateway) -> None:
    draws = random.Random(6)
    first = [wordings[0] for wordings in QUESTIONS]
    later = draws.choices(list(chain.from_iterable(QUESTIONS)), k=90)
    for number, text in enumerate([*first, *later]):
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
        tags = [draws.choice(("docs", "faq", "handbook-v3"))]
        body = {"model": "demo", "messages": messages, "max_tokens": 60, "cache": {"tags": tags}}
        answer = gateway.post(body, authorization=f"Bearer sk-{('shop', 'shop', 'help-desk')[number % 3]}")
        if answer.headers.get("x-twicetold-tier") == "semantic":
            verdict = {"id": answer.json()["id"], "verdict": "good"}
            headers = {"authorization": f"Bearer sk-{('shop', 'shop', 'help-desk')[number % 3]}"}
            httpx.post(f"{gateway.url}/v1/cache/feedback", json=verdict, headers=headers, **LOOPBACK)
        time.sleep(draws.uniform(0.0, 0.6))


def _shoot_all(browser: Browser, gateway: Gateway) -> None:
    for name, view in VIEWS.items():
        _shoot(browser, gateway, view, name, "light")
    _shoot(browser, gateway, "overview", "overview-dark", "dark")
    _shoot(browser, gateway, "overview", "phone", "light", (390, 844))
    hits = gateway.get("/admin/api/requests?tier=semantic&limit=1").json()["data"]
    if hits:
        _shoot(browser, gateway, f"requests/{hits[0]['id']}", "explain", "light")
        _shoot(browser, gateway, f"entries/{hits[0]['entry']}", "entry", "dark")
    _shoot(browser, gateway, "playground", "playground", "light")


def _shoot(
    browser: Browser, gateway: Gateway, view: str, name: str, theme: str, size: tuple[int, int] = (1280, 800)
) -> None:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
        locale="en-GB",
    )
    page = context.new_page()
    page.goto(f"{gateway.url}/admin#/{view}")
    page.wait_for_selector("main .view > *")
    if view == "playground":
        page.wait_for_selector("option[value=demo]", state="attached")
        page.get_by_label("System prompt").fill(SYSTEM)
        page.get_by_label("API key").fill("sk-shop")
        page.get_by_label("Send earlier turns along").uncheck()
        asked = ("What is prefix caching?", "What is prefix caching?", "Please tell me: what is prefix caching?")
        for count, text in enumerate(asked, start=1):
            page.get_by_label("Message").fill(text)
            page.keyboard.press("Enter")
            page.locator(".answer-facts .badge").nth(count - 1).wait_for()
    page.wait_for_timeout(1200)
    page.screenshot(path=IMAGES / f"{name}.png")
    context.close()


if __name__ == "__main__":
    sys.exit(main())
