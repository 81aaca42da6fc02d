"""Keys: made and shown once, rotated, revoked, and told apart by how they begin."""

import httpx
from playwright.sync_api import Page, expect

from tests.dashboard.looking import complaints_everywhere, open_view
from tests.e2e.server import Gateway
from tests.loopback import LOOPBACK


def status(gateway: Gateway, key: str) -> int:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.get(f"{gateway.url}/v1/models", headers=headers, **LOOPBACK).status_code


def test_a_key_is_made_shown_once_rotated_and_revoked(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "keys")
    page.get_by_role("button", name="New key").click()
    page.get_by_label("What it is for").fill("<b>chat</b> app")
    page.get_by_label("admin:read").check()
    page.get_by_role("button", name="Make it").click()
    first = page.get_by_label("Key of <b>chat</b> app").input_value()

    row = page.locator("tr", has_text=first[:11])
    expect(row).to_contain_text("<b>chat</b> app")
    expect(row).to_contain_text("admin:read")
    assert status(gateway, first) == 200
    assert complaints_everywhere(page) == []

    page.get_by_role("button", name="I have it").click()
    assert first not in page.content()
    page.get_by_role("button", name="Rotate <b>chat</b> app").click()
    page.get_by_role("button", name="Rotate", exact=True).click()
    second = page.get_by_label("Key of <b>chat</b> app").input_value()
    assert (status(gateway, first), status(gateway, second)) == (401, 200)

    page.get_by_role("button", name="Revoke <b>chat</b> app").click()
    page.get_by_role("button", name="Revoke", exact=True).click()
    expect(page.get_by_text("Nothing found")).to_be_visible()
    assert status(gateway, second) == 401
    page.get_by_label("Ended ones, too").check()
    expect(page.locator("tbody tr")).to_have_count(2)


def test_what_a_key_lacks_is_said_before_it_is_made(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "keys")
    page.get_by_role("button", name="New key").click()
    page.get_by_label("What it is for").fill("nothing")
    for scope in ("chat", "feedback"):
        page.get_by_label(scope).uncheck()
    page.get_by_role("button", name="Make it").click()

    expect(page.get_by_text("A key has to open something.")).to_be_visible()
    assert complaints_everywhere(page) == []
