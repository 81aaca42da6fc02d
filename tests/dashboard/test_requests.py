"""Requests in the dashboard: they come in by themselves, each of them is explained, and the playground sends some."""

from playwright.sync_api import Page, expect

from tests.dashboard.looking import complaints_everywhere, open_view
from tests.e2e.server import Gateway
from tests.upstream import RunningUpstream

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


def test_a_tier_of_few_requests_is_not_pushed_out_by_one_of_many(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "requests?tier=full")
    ask(gateway, "the rare one")
    expect(page.get_by_role("link", name="the rare one")).to_be_visible()
    for _ in range(201):
        ask(gateway, "the rare one")
    ask(gateway, "another rare one")

    expect(page.get_by_role("link", name="another rare one")).to_be_visible()
    expect(page.get_by_role("link", name="the rare one", exact=True)).to_be_visible()


def test_errors_are_shown_alone(page: Page, gateway: Gateway) -> None:
    ask(gateway, "one that went well")
    gateway.post({"model": "m"})
    open_view(page, gateway, "requests")
    page.get_by_role("button", name="errors").click()
    expect(page.get_by_role("link", name="one that went well")).to_have_count(0)

    assert set(page.locator("tbody .badge").all_inner_texts()) == {"400"}


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


def say(page: Page, text: str) -> None:
    page.get_by_label("Message").fill(text)
    page.keyboard.press("Enter")


def test_an_answer_is_streamed_and_a_repeat_says_what_it_saved(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "playground")
    page.wait_for_selector("option[value=test-model]", state="attached")
    say(page, "What is a block table?")
    first = page.locator(".bubble.assistant").nth(0)
    expect(first.locator(".badge")).to_have_text("full")
    expect(first).to_contain_text("nothing saved")
    page.get_by_role("button", name="New conversation").click()
    say(page, "What is a block table?")
    again = page.locator(".bubble.assistant").nth(0)

    expect(again.locator(".badge")).to_have_text("exact")
    expect(again).to_contain_text("tokens saved")
    assert complaints_everywhere(page) == []
    again.get_by_role("button", name="A good answer").click()
    expect(page.get_by_text("Noted.")).to_be_visible()
    again.get_by_role("link", name="Why?").click()
    expect(page.locator(".step.exact.hit")).to_be_visible()


def test_a_conversation_goes_on_with_its_history(page: Page, gateway: Gateway, upstream: RunningUpstream) -> None:
    open_view(page, gateway, "playground")
    page.wait_for_selector("option[value=test-model]", state="attached")
    page.get_by_label("System prompt").fill("You are brief.")
    say(page, "The first turn?")
    expect(page.locator(".answer-facts .badge")).to_have_count(1)
    say(page, "The second turn?")
    expect(page.locator(".answer-facts .badge")).to_have_count(2)

    roles = [message["role"] for message in upstream.app.received[-1]["messages"]]
    assert roles == ["system", "user", "assistant", "user"]


def test_an_error_of_the_backend_is_told_in_its_own_words(
    page: Page, gateway: Gateway, upstream: RunningUpstream
) -> None:
    open_view(page, gateway, "playground")
    page.wait_for_selector("option[value=test-model]", state="attached")
    upstream.control(mode="error:400")
    say(page, "Something that fails?")
    expect(page.locator(".answer-facts .form-error")).not_to_be_empty()
    upstream.control(mode="normal")
    say(page, "Something that does not?")

    expect(page.locator(".answer-facts .badge")).to_have_text("full")


def test_what_a_model_says_is_shown_as_text(page: Page, gateway: Gateway, upstream: RunningUpstream) -> None:
    open_view(page, gateway, "playground")
    page.wait_for_selector("option[value=test-model]", state="attached")
    upstream.control(next=["say:<img src=x onerror=window.hurt=1>"])
    say(page, "Say something hostile")

    expect(page.locator(".bubble.assistant")).to_contain_text("<img src=x onerror=window.hurt=1>")
    assert page.evaluate("window.hurt") is None


def test_an_answer_can_be_stopped(page: Page, gateway: Gateway, upstream: RunningUpstream) -> None:
    open_view(page, gateway, "playground")
    page.wait_for_selector("option[value=test-model]", state="attached")
    upstream.control(next=["normal:0.5"])
    say(page, "A slow one, please")
    page.get_by_role("button", name="Stop").click()

    expect(page.get_by_text("Stopped.")).to_be_visible()
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_without_a_semantic_tier_it_is_said_how_to_get_one(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "quality")

    expect(page.get_by_role("heading", name="The semantic tier is off")).to_be_visible()
    assert gateway.get("/admin/api/quality").json() == {"is_on": False, "lanes": []}
