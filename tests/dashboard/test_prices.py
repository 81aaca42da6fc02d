"""Prices: edited in place, kept, and what is saved is told in money from then on."""

import httpx
from playwright.sync_api import Page, expect

from tests.dashboard.looking import complaints_everywhere, open_view
from tests.e2e.server import Gateway
from tests.loopback import LOOPBACK


def ask(gateway: Gateway, question: str, model: str = "house-model") -> None:
    gateway.post({"model": model, "messages": [{"role": "user", "content": question}]})


def test_a_model_gets_its_price_and_the_money_follows(page: Page, gateway: Gateway) -> None:
    ask(gateway, "What does it cost?")
    ask(gateway, "What does it cost?")
    open_view(page, gateway, "prices")
    expect(page.get_by_text("These are list prices")).to_be_visible()
    page.get_by_role("button", name="+ house-model").click()
    page.get_by_label("Prompt, house-model", exact=True).fill("1000")
    page.get_by_label("Completion, house-model").fill("2000,5")
    expect(page.get_by_text("Not saved yet")).to_be_visible()
    page.get_by_role("button", name="Save prices").click()

    expect(page.get_by_text("Prices are saved")).to_be_visible()
    expect(page.get_by_role("button", name="+ house-model")).to_have_count(0)
    kept = gateway.get("/admin/api/prices").json()
    assert kept["models"]["house-model"] == {"prompt": 1000, "cached_prompt": 1000, "completion": 2000.5}
    assert gateway.stats()["money"]["saved"] > 0
    expect(page.locator("tr", has=page.get_by_label("Prompt, house-model", exact=True))).to_contain_text("saved")


def test_what_cannot_be_a_price_is_said_at_its_field(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "prices")
    before = gateway.get("/admin/api/prices").json()
    page.get_by_role("button", name="Add a model").click()
    page.get_by_label("Model or pattern").last.fill("x*")
    page.get_by_label("Prompt, new model", exact=True).fill("much")
    page.get_by_role("button", name="Save prices").click()

    expect(page.get_by_text("A price is a number")).to_be_visible()
    expect(page.get_by_label("Prompt, new model", exact=True)).to_be_focused()
    page.get_by_role("button", name="Discard changes").click()
    expect(page.get_by_label("Prompt, new model", exact=True)).to_have_count(0)
    assert gateway.get("/admin/api/prices").json() == before


def test_a_price_is_removed_by_keyboard(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "prices")
    page.get_by_role("button", name="Remove gpt-4o", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Save prices").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Prices are saved")).to_be_visible()

    assert "gpt-4o" not in gateway.get("/admin/api/prices").json()["models"]


def test_prices_that_are_not_saved_are_left_only_when_somebody_says_so(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "prices")
    page.get_by_role("button", name="Add a model").click()
    page.get_by_label("Model or pattern").last.fill("constructor")
    page.get_by_role("link", name="Entries", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.get_by_label("Model or pattern").last).to_have_value("constructor")
    page.get_by_role("link", name="Entries", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Leave").click()

    expect(page.get_by_role("heading", name="Entries")).to_be_visible()


def test_a_model_may_have_the_name_of_what_every_object_has(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "prices")
    page.get_by_role("button", name="Add a model").click()
    page.get_by_label("Model or pattern").last.fill("constructor")
    page.get_by_role("button", name="Save prices").click()

    expect(page.get_by_text("Prices are saved")).to_be_visible()
    assert "constructor" in gateway.get("/admin/api/prices").json()["models"]


def test_everybody_can_use_it(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "prices")
    page.get_by_label("Prompt, gpt", exact=False).first.wait_for()
    assert complaints_everywhere(page) == []


def test_what_somebody_else_saved_in_between_is_not_lost_unseen(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "prices")
    page.get_by_label("Completion, o3").fill("1")
    theirs = {"currency": "EUR", "models": {"theirs": {"prompt": 7}}}
    httpx.put(f"{gateway.url}/admin/api/prices", json=theirs, **LOOPBACK).raise_for_status()
    page.get_by_role("button", name="Save prices").click()
    expect(page.get_by_role("dialog")).to_contain_text("Somebody else has changed the prices")
    page.get_by_role("button", name="Read again").click()

    expect(page.get_by_label("Prompt, theirs", exact=True)).to_have_value("7")
    assert list(gateway.get("/admin/api/prices").json()["models"]) == ["theirs"]
