"""What other words of a stored question do in the dashboard: a gateway with its real embedder."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.looking import complaints_everywhere, open_view
from tests.e2e.server import Gateway, running_gateway
from tests.upstream import RunningUpstream

STORED = "How do I reset my password?"
OTHER_WORDS = "Please, how do I reset my password?"


@pytest.fixture(scope="module")
def gateway(upstream: RunningUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One that finds by meaning, and has three answers."""
    folder = tmp_path_factory.mktemp("meaning") / "data"
    with running_gateway(folder, "--upstream", upstream.base_url) as running:
        running.wait("upstream", "semantic", within_s=120)
        for text in ("What is the capital of France?", STORED, "When does the shop open on Sunday?"):
            running.post({"model": "test-model", "messages": [{"role": "user", "content": text}]})
        running.wait_for(lambda stats: stats["vectors"], 3)
        yield running


def test_entries_are_found_by_what_they_mean(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "entries")
    page.get_by_role("button", name="Meaning").click()
    page.get_by_role("searchbox").fill("I forgot my login credentials")
    page.keyboard.press("Enter")

    expect(page.locator(".entry-row").first).to_contain_text(STORED)
    expect(page.get_by_text("The nearest 3 of 3 questions")).to_be_visible()
    expect(page.locator(".entry-row .badge.semantic")).to_have_count(3)
    assert complaints_everywhere(page) == []


def test_other_words_are_served_from_memory_and_explained(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "playground")
    page.wait_for_selector("option[value=test-model]", state="attached")
    page.get_by_label("Message").fill(OTHER_WORDS)
    page.keyboard.press("Enter")
    answer = page.locator(".bubble.assistant")
    expect(answer.locator(".badge")).to_have_text("semantic")
    expect(answer).to_contain_text("similarity")
    expect(answer).to_contain_text("tokens saved")
    answer.get_by_role("link", name="Why?").click()

    expect(page.locator(".step.semantic.hit")).to_contain_text(STORED)
    expect(page.locator(".pair")).to_contain_text(OTHER_WORDS)
    assert complaints_everywhere(page) == []
