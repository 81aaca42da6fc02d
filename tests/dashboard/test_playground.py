"""The playground: a chat through the gateway, with what each answer saved beside it."""

from playwright.sync_api import Page, expect

from tests.dashboard.looking import complaints_everywhere, open_view
from tests.e2e.server import Gateway
from tests.upstream import RunningUpstream


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
