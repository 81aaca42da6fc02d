"""The overview with live data: what is saved, who served what, how fast, and every request as it ends."""

import re

import httpx
from playwright.sync_api import Page, expect

from tests.dashboard.looking import complaints_everywhere, open_view
from tests.e2e.server import Gateway
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream

ROWS = "table.stream tbody tr"


def ask(gateway: Gateway, question: str, **body: object) -> None:
    gateway.post({"model": "m", "messages": [{"role": "user", "content": question}], **body})


def shows_figure(page: Page, label: str, value: str) -> None:
    tile = page.locator(".figure", has=page.get_by_text(label, exact=True))
    expect(tile.locator(".value")).to_have_text(value)


def told_span(seconds: float) -> str:
    """As format.js says less than a minute."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def told_ms(ms: float) -> str:
    return f"{ms:.1f} ms" if ms < 10 else f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.2f} s"


def shows_row(page: Page, text: str) -> None:
    expect(page.locator(ROWS).first).to_contain_text(text)


def test_a_request_shows_up_as_it_ends_and_is_counted(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "overview")
    expect(page.get_by_role("heading", name="No request yet")).to_be_visible()
    ask(gateway, "What is a cache?")
    shows_row(page, "What is a cache?")
    expect(page.get_by_role("heading", name="No request yet")).to_have_count(0)
    ask(gateway, "What is a cache?")

    expect(page.locator(ROWS)).to_have_count(2)
    row = page.locator(ROWS).first
    expect(row.locator(".badge")).to_have_text("exact")
    expect(row).to_contain_text("tok")
    shows_figure(page, "Requests", "2")
    shows_figure(page, "From memory", "50 %")
    chart = page.get_by_role("img", name="Requests by tier: exact 1, semantic 0, kv 0, full 1")
    expect(chart.locator("canvas")).to_have_count(1)
    rates = page.get_by_role("img", name=re.compile("Hit rate by tier: exact (50|100) %, semantic 0 %, kv 0 %"))
    expect(rates.locator("canvas")).to_have_count(1)
    page.get_by_role("group", name="Chart").get_by_role("button", name="Tokens").click()
    saved = gateway.stats()["tokens"]["saved_prompt"] + gateway.stats()["tokens"]["saved_completion"]
    expect(page.get_by_role("img", name=f"Tokens saved: saved {saved}").locator("canvas")).to_have_count(1)
    latency = page.get_by_role("table", name="Percentiles by tier")
    expect(latency.locator("tbody tr").first).to_contain_text("ms")


def test_a_model_without_a_price_leads_to_the_prices(page: Page, gateway: Gateway) -> None:
    ask(gateway, "What is a price?")
    open_view(page, gateway, "overview")
    page.get_by_role("link", name="Set a price").click()

    expect(page.get_by_role("heading", name="Prices")).to_be_visible()


def test_rows_can_be_chosen_by_tier_and_an_error_is_one(page: Page, gateway: Gateway) -> None:
    ask(gateway, "Broken", temperature="hot")
    open_view(page, gateway, "overview")
    only = page.get_by_role("group", name="Tier")
    only.get_by_role("button", name="semantic").click()
    expect(page.get_by_role("heading", name="None of these yet")).to_be_visible()
    only.get_by_role("button", name="errors").click()

    expect(page.locator(ROWS)).to_have_count(1)
    expect(page.locator(ROWS)).to_contain_text("error 400")
    ask(gateway, "What is a tier?")  # of another kind: it is not shown
    page.wait_for_timeout(500)
    expect(page.locator(ROWS)).to_have_count(1)


def test_a_flood_leaves_a_hundred_rows_and_a_pause_holds_them(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "overview")
    body = {"model": "m", "messages": [{"role": "user", "content": "What is a cache?"}]}
    with httpx.Client(**LOOPBACK) as client:
        for _ in range(250):
            client.post(f"{gateway.url}/v1/chat/completions", json=body)
    ask(gateway, "The last of the flood")
    shows_row(page, "The last of the flood")
    expect(page.locator(ROWS)).to_have_count(100)

    page.get_by_role("button", name="Pause").click()
    ask(gateway, "While it was paused")
    page.wait_for_timeout(500)
    shows_row(page, "The last of the flood")
    page.get_by_role("button", name="Go on").click()
    shows_row(page, "While it was paused")


def test_a_page_that_was_cut_off_says_so_and_catches_up(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "overview")
    page.context.set_offline(True)
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
    ask(gateway, "What did I miss?")
    page.context.set_offline(False)

    shows_row(page, "What did I miss?")
    expect(page.locator(".banner")).to_be_hidden()


def test_the_range_stays_chosen(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "overview")
    page.get_by_role("button", name="24 h").click()
    page.reload()

    expect(page.get_by_role("button", name="24 h")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".sub")).to_contain_text("the last 24 h")


def test_everybody_can_use_it(page: Page, gateway: Gateway) -> None:
    ask(gateway, "What is a very long question that does not fit into the width of a phone?")
    open_view(page, gateway, "overview")
    page.wait_for_selector(ROWS)
    page.wait_for_selector(".chart canvas")
    assert complaints_everywhere(page) == []


def test_saved_seconds_and_money_are_told_and_drawn(page: Page, gateway: Gateway, upstream: RunningUpstream) -> None:
    prices = {"currency": "USD", "models": {"gold": {"prompt": 1e5, "completion": 2e5}}}
    httpx.put(f"{gateway.url}/admin/api/prices", json=prices, **LOOPBACK).raise_for_status()
    upstream.control(next=["slow:0.02"])
    for _ in range(5):
        ask(gateway, "What is a second worth?", model="gold")
    stats = gateway.stats()
    seconds, money = told_span(stats["saved_seconds"]), f"${stats['money']['saved']:,.2f}"
    assert stats["money"]["saved"] > 1
    open_view(page, gateway, "overview")

    shows_figure(page, "Time saved", seconds)
    shows_figure(page, "Money saved", money)
    choose = page.get_by_role("group", name="Chart")
    for name, told in (("Time", seconds), ("Money", money)):
        choose.get_by_role("button", name=name).click()
        expect(page.get_by_role("img", name=f"{name} saved: saved {told}").locator("canvas")).to_have_count(1)
    expect(page.get_by_role("region", name="Cost by model")).to_contain_text(f"gold{money}")


def test_the_first_token_and_the_whole_are_told_apart(page: Page, gateway: Gateway, upstream: RunningUpstream) -> None:
    upstream.control(next=["slow:0.03"])
    with gateway.openai().chat.completions.create(
        model="m", messages=[{"role": "user", "content": "How slow is slow?"}], stream=True
    ) as stream:
        for _ in stream:
            pass
    gateway.wait_for(lambda stats: stats["latency"]["full"]["total"]["p99"] > 0.3, True)
    open_view(page, gateway, "overview")
    told = gateway.stats()["latency_last_hour"]["full"]
    card = page.get_by_role("region", name="Latency")
    row = card.locator("tbody tr", has_text="full").locator("td.num")
    expected = {
        which: [*(told_ms(told[which][at] * 1000) for at in ("p50", "p90", "p99")), str(told["count"])]
        for which in ("ttft", "total")
    }
    assert expected["ttft"] != expected["total"]

    expect(row).to_have_text(expected["ttft"])
    card.get_by_role("button", name="Total").click()
    expect(row).to_have_text(expected["total"])
