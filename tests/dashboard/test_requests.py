"""Requests in the dashboard: they come in by themselves, and each of them is explained."""

from playwright.sync_api import Page, expect

from tests.dashboard.looking import complaints_everywhere, open_view
from tests.e2e.server import Gateway

SYSTEM = {"role": "system", "content": "You are brief."}


def ask(gateway: Gateway, text: str) -> str:
    """The id of the response."""
    response = gateway.post({"model": "m", "messages": [SYSTEM, {"role": "user", "content": text}]})
    name: str = response.json()["id"]
    return name


def test_a_request_comes_in_by_itself(page: Page, gateway: Gateway) -> None:
    ask(gateway, "one that was before")
    open_view(page, gateway, "requests")
    expect(page.get_by_role("link", name="one that was before")).to_be_visible()
    ask(gateway, "<b>one that comes now</b>")

    expect(page.get_by_role("link", name="<b>one that comes now</b>")).to_be_visible()
    assert page.locator("tbody tr").first.inner_text().find("<b>one that comes now</b>") > 0


def test_requests_of_one_tier_are_shown_alone(page: Page, gateway: Gateway) -> None:
    ask(gateway, "asked twice")
    ask(gateway, "asked twice")
    open_view(page, gateway, "requests?tier=exact")
    page.wait_for_selector("tbody tr")

    assert set(page.locator("tbody .badge").all_inner_texts()) == {"exact"}


def test_a_hit_is_explained(page: Page, gateway: Gateway) -> None:
    ask(gateway, "why a hit?")
    name = ask(gateway, "why a hit?")
    open_view(page, gateway, f"requests/{name}")

    expect(page.get_by_role("heading", name="why a hit?")).to_be_visible()
    expect(page.locator(".step.exact.hit")).to_contain_text("The very same request was stored.")
    expect(page.get_by_role("region", name="Tokens")).to_contain_text("Saved")
    assert complaints_everywhere(page) == []


def test_a_response_that_nobody_remembers_is_told_as_such(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "requests/chatcmpl-nothing")

    expect(page.get_by_role("heading", name="This response is not known")).to_be_visible()


def test_what_keeps_a_request_from_hitting_is_told_without_sending_it(page: Page, gateway: Gateway) -> None:
    ask(gateway, "How high is the hill?")
    before = gateway.stats()["requests"]
    open_view(page, gateway, "requests/ask")
    page.get_by_label("Model").fill("m")
    page.get_by_label("System prompt").fill("You are brief.")
    page.get_by_label("Message").fill("How high is the hut?")
    page.get_by_role("button", name="Explain").click()

    expect(page.locator(".step.exact")).to_contain_text('is the hill?" there')
    expect(page.locator(".step.full.hit")).to_be_visible()
    assert gateway.stats()["requests"] == before
    assert complaints_everywhere(page) == []
    page.get_by_label("Message").fill("How high is the hill?")
    page.get_by_role("button", name="Explain").click()
    expect(page.locator(".step.exact.hit")).to_contain_text("The very same request is stored")


def test_everybody_can_use_the_list(page: Page, gateway: Gateway) -> None:
    ask(gateway, "one for the list")
    gateway.post({"model": "m"})
    open_view(page, gateway, "requests")
    page.wait_for_selector("tbody tr")

    assert complaints_everywhere(page) == []
