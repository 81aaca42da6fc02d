"""The views of the KV cache and of backends, on a real engine and a real server beside it."""

import re
from collections.abc import Iterator

import httpx
import psutil
import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.looking import complaints_everywhere, open_view
from tests.e2e.server import Gateway, running_gateway
from tests.upstream import RunningUpstream

HOUSE = "You answer for the house of the seven gables, and you are brief. " * 3
GARDEN = "Tell me at length of the garden behind the house, and of its seven old apple trees."
LODGERS = "Who lives on the second floor, and since when have they been living there, please?"


@pytest.fixture(scope="module")
def gateway(upstream: RunningUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A local model whose callers share a system prompt, and an upstream."""
    folder = tmp_path_factory.mktemp("kv")
    flags = ["--model", "demo", "--upstream", upstream.base_url]
    with running_gateway(folder / "data", *flags, cache__semantic="false", engine__kv_mb="8") as running:
        running.wait("local", "upstream")
        yield running


def ask(gateway: Gateway, question: str, model: str = "demo") -> httpx.Response:
    messages = [{"role": "system", "content": HOUSE}, {"role": "user", "content": question}]
    body = {"model": model, "messages": messages, "max_tokens": 4, "cache": {"tiers": ["kv"]}}
    return gateway.post(body, Authorization="Bearer gables")


def disk_of(gateway: Gateway) -> dict[str, int]:
    disk: dict[str, int] = gateway.get("/admin/api/kv").json()["models"]["demo"]["tiers"]["disk"]
    return disk


def test_before_anything_is_shared_it_is_said_what_would_be(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "kv")

    expect(page.get_by_text("Nothing has been found twice yet")).to_be_visible()
    expect(page.get_by_role("img", name="Memory:")).to_be_visible()


def test_the_tree_shows_what_callers_share_and_unfolds_by_keyboard(page: Page, gateway: Gateway) -> None:
    for question in ("one", "two", "one"):
        assert ask(gateway, question).status_code == 200
    open_view(page, gateway, "kv")
    first = page.locator(".prefix").first
    expect(first.locator(".prefix-words")).to_contain_text("seven gables")
    expect(first.locator(".prefix-hits")).to_contain_text("2×")
    first.locator("summary").focus()
    page.keyboard.press("Enter")

    expect(first.get_by_text("2 times")).to_be_visible()
    expect(page.locator(".icicle .ice-cell").first).to_be_visible()


def test_conversations_that_go_on_differently_stand_under_what_they_share(page: Page, gateway: Gateway) -> None:
    for question in (GARDEN, LODGERS) * 2:
        ask(gateway, question)
    open_view(page, gateway, "kv")
    below = page.locator(".prefix-list .prefix-list .prefix-words")

    expect(below.filter(has_text="who lives on the second floor")).to_be_visible()
    expect(page.locator(".prefixes > section > .prefix-list > li > .prefix")).to_have_count(1)
    expect(page.locator(".ice .ice-row .ice-cell").first).to_be_visible()


def test_it_is_shown_how_full_the_disk_is(page: Page, gateway: Gateway) -> None:
    ask(gateway, GARDEN)
    gateway.wait_for(lambda _: disk_of(gateway)["blocks"] > 0, True)
    open_view(page, gateway, "kv")
    disk = page.locator(".tier-bar", has=page.get_by_role("heading", name="Disk"))

    expect(disk.get_by_role("img", name=re.compile(r"Disk: [1-9]\d* blocks? in [1-9]"))).to_be_visible()
    expect(disk).to_contain_text("of 4.0 GiB")
    held = disk_of(gateway)["resident_bytes"] / (4096 << 20)
    drawn = float(disk.locator(".occupancy .cached").evaluate("(part) => part.style.flexGrow"))
    assert 0 < drawn <= 2 * held


def test_a_new_hit_shows_up_by_itself_and_what_was_unfolded_stays_so(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "kv")
    first = page.locator(".prefix").first
    hits = first.locator(".prefix-hits").inner_text()
    first.locator("summary").click()
    ask(gateway, "one more")

    expect(first.locator(".prefix-hits")).not_to_have_text(hits)
    expect(first.locator(".prefix-more")).to_be_visible()


def test_nobody_is_kept_from_using_either_view(page: Page, gateway: Gateway) -> None:
    ask(gateway, "so that there is something")
    for view, shown in (("kv", ".prefix"), ("backends", ".backend")):
        open_view(page, gateway, view)
        page.wait_for_selector(shown)
        assert complaints_everywhere(page) == []


def test_a_backend_is_drained_and_taken_back(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "backends")
    card = page.get_by_role("region", name="upstream")
    expect(card.get_by_text("ready", exact=True)).to_be_visible()
    card.get_by_role("button", name="Drain upstream").click()
    page.get_by_role("dialog").get_by_role("button", name="Drain").click()
    expect(card.get_by_text("drained", exact=True)).to_be_visible()
    assert ask(gateway, "hello", "elsewhere").status_code == 503

    card.get_by_role("button", name="Resume upstream").click()
    expect(card.get_by_text("ready", exact=True)).to_be_visible()
    assert ask(gateway, "hello", "elsewhere").status_code == 200


def test_what_a_backend_failed_stands_with_it(page: Page, gateway: Gateway, upstream: RunningUpstream) -> None:
    upstream.control(next=["error:400"])
    ask(gateway, "fails", "elsewhere")
    open_view(page, gateway, "backends")
    card = page.get_by_role("region", name="upstream")

    expect(card.get_by_text("Last error")).to_be_visible()
    expect(card.get_by_role("definition").filter(has_text="%").first).to_be_visible()


def test_everything_kept_is_forgotten_after_asking(page: Page, gateway: Gateway) -> None:
    ask(gateway, "soon forgotten")
    open_view(page, gateway, "kv")
    page.get_by_role("button", name="Forget all").click()
    page.get_by_role("dialog").get_by_role("button", name="Forget all").click()

    expect(page.get_by_text("demo keeps no prefix any more.")).to_be_visible()
    expect(page.get_by_text("Nothing has been found twice yet")).to_be_visible()


def test_an_engine_that_is_gone_is_waited_for(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "kv")
    (engine,) = psutil.Process(gateway.process.pid).children()
    engine.kill()
    gateway.wait_for(lambda _: gateway.get("/admin/api/kv").json()["models"]["demo"]["counters"], {})
    page.reload()
    expect(page.get_by_text("The engine is not there yet")).to_be_visible()
    gateway.wait("local")

    expect(page.get_by_role("img", name="Memory:")).to_be_visible()
