"""The frame of the dashboard: what is served and how, who may see it, and what it says when the server is away."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from gateway.dashboard import STATIC
from tests.dashboard.looking import complaints, complaints_everywhere, open_view
from tests.e2e.server import Gateway, running_gateway
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream

KEY = "an admin key of forty characters or so.."


@pytest.fixture(scope="module")
def keyed(upstream: RunningUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that asks for an admin key."""
    folder = tmp_path_factory.mktemp("keyed") / "data"
    settings = {"admin_key_env": "TWICETOLD_THE_KEY", "the_key": KEY, "cache__semantic": "false"}
    settings["keys__required"] = "true"  # of callers
    with running_gateway(folder, "--upstream", upstream.base_url, **settings) as running:
        yield running


def log_in(page: Page, gateway: Gateway, key: str = KEY) -> None:
    page.goto(f"{gateway.url}/admin")
    page.get_by_label("Admin key").fill(key)
    page.get_by_role("button", name="Log in").click()


def test_every_answer_below_admin_says_what_a_browser_may_do_with_it(gateway: Gateway) -> None:
    for path in ("/admin", "/admin/static/app.js", "/admin/api/stats", "/admin/static/nothing.js"):
        headers = gateway.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_a_file_that_did_not_change_is_not_sent_again(gateway: Gateway) -> None:
    first = gateway.get("/admin/static/app.js")
    again = httpx.get(first.url, headers={"if-none-match": first.headers["etag"]}, **LOOPBACK)

    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


def test_the_page_names_files_that_a_browser_may_keep_for_good(gateway: Gateway) -> None:
    named = re.findall(r"admin/static/\w{16}/[\w./]+", gateway.get("/admin").text)
    kept = [gateway.get(f"/{path}") for path in named]

    assert len(named) > 3
    assert {response.status_code for response in kept} == {200}
    assert all("immutable" in response.headers["cache-control"] for response in kept)
    assert gateway.get("/admin").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["../__init__.py", "%2e%2e/__init__.py", "..%2f__init__.py", "/etc/passwd", ""])
def test_nothing_but_the_files_of_the_dashboard_is_served(gateway: Gateway, path: str) -> None:
    assert gateway.get(f"/admin/static/{path}").status_code == 404


def test_a_page_enlarged_four_times_has_room_for_its_tables(page: Page, gateway: Gateway) -> None:
    gateway.post({"model": "m", "messages": [{"role": "user", "content": "Is there room for a question of its own?"}]})
    parts = ".latency, .latency td, .segments, .requests td, .price-table td"
    narrow = f"[...document.querySelectorAll('{parts}')].filter((one) => one.scrollWidth > one.clientWidth + 1).length"
    for view, ready in (("overview", ".latency .badge"), ("prices", ".price"), ("requests", ".requests .clip-2")):
        open_view(page, gateway, view, size=(320, 640))
        page.wait_for_selector(ready)
        assert page.evaluate(narrow) == 0
    assert page.evaluate("document.querySelector('.requests .clip-2').clientWidth") > 80


def test_no_script_makes_markup_of_a_string() -> None:
    for path in STATIC.rglob("*.js"):
        if "vendor" not in path.parts:
            text = path.read_text("utf-8")
            for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
                assert way not in text, f"{path.name} uses {way}"


def test_on_this_machine_nobody_is_asked_for_a_key(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway)

    expect(page.get_by_role("navigation", name="Views")).to_be_visible()
    expect(page.get_by_text("live", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Log out")).to_have_count(0)


def test_who_has_the_key_logs_in_and_out(page: Page, keyed: Gateway) -> None:
    log_in(page, keyed)
    expect(page.get_by_role("navigation", name="Views")).to_be_visible()
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/admin")
    assert KEY not in str(page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})"))

    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Admin key")).to_be_visible()
    cookies = {"cookie": f"{cookie['name']}={cookie['value']}"}
    assert httpx.get(f"{keyed.url}/admin/api/stats", headers=cookies, **LOOPBACK).status_code == 401


def test_a_wrong_key_is_told(page: Page, keyed: Gateway) -> None:
    log_in(page, keyed, "wrong")

    expect(page.get_by_role("alert")).to_have_text("That is not the admin key.")
    assert complaints(page) == []


def test_a_session_that_ended_asks_for_the_key_again(page: Page, keyed: Gateway) -> None:
    log_in(page, keyed)
    page.wait_for_selector("main .view")
    page.context.clear_cookies()
    page.get_by_role("link", name="Entries").click()

    expect(page.get_by_label("Admin key")).to_be_visible()


def test_logging_out_in_one_tab_ends_the_other(page: Page, keyed: Gateway) -> None:
    log_in(page, keyed)
    page.get_by_role("link", name="Entries", exact=True).click()  # which asks nothing by itself
    page.wait_for_selector(".view-entries .empty")
    page.wait_for_selector("text=live")
    other = page.context.new_page()
    other.goto(f"{keyed.url}/admin")
    other.get_by_role("button", name="Log out").click()
    other.close()

    expect(page.get_by_label("Admin key")).to_be_visible()


def test_the_playground_asks_for_a_key_where_callers_need_one(page: Page, keyed: Gateway) -> None:
    key = {"authorization": f"Bearer {KEY}"}
    made = httpx.post(f"{keyed.url}/admin/api/keys", json={"name": "page"}, headers=key, **LOOPBACK).json()["key"]
    log_in(page, keyed)
    page.get_by_role("link", name="Playground", exact=True).click()
    expect(page.get_by_label("Model")).to_have_text("enter an API key first")
    page.get_by_label("API key").fill("wrong")
    expect(page.get_by_label("Model")).to_have_text("this key is not accepted")
    page.get_by_label("API key").fill(made)

    expect(page.get_by_label("Model")).to_have_value("test-model")


def test_a_session_changes_nothing_without_its_word(page: Page, keyed: Gateway) -> None:
    log_in(page, keyed)
    page.wait_for_selector("main .view")
    body = "{method: 'POST', headers: {'content-type': 'application/json'}, body: '{\"all\": true}'}"
    status = page.evaluate(f"fetch('/admin/api/invalidate', {body}).then((response) => response.status)")

    assert status == 403


def test_a_tab_that_logged_in_before_another_did_can_still_change_something(page: Page, keyed: Gateway) -> None:
    other = page.context.new_page()
    other.goto(f"{keyed.url}/admin")
    log_in(page, keyed)
    page.wait_for_selector("main .view")
    other.get_by_label("Admin key").fill(KEY)
    other.get_by_role("button", name="Log in").click()
    other.wait_for_selector("main .view")
    other.close()
    page.get_by_role("link", name="Entries", exact=True).click()
    page.get_by_role("button", name="Invalidate…").click()
    page.get_by_role("dialog").get_by_label("Tag").fill("none")
    page.get_by_role("button", name="Count first").click()

    expect(page.get_by_text("Nothing would go.")).to_be_visible()


def test_a_server_that_went_away_is_shown_as_such_and_found_again(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "entries")
    page.wait_for_selector("text=live")
    page.context.set_offline(True)
    page.get_by_role("searchbox").fill("anything")

    expect(page.get_by_text("disconnected")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    page.context.set_offline(False)
    expect(page.get_by_text("live", exact=True)).to_be_visible()


def test_a_gateway_that_ended_and_was_started_again_is_found_by_the_open_page(
    page: Page, upstream: RunningUpstream, tmp_path: Path
) -> None:
    flags = ("--upstream", upstream.base_url)
    with running_gateway(tmp_path / "data", *flags, cache__semantic="false") as first:
        first.wait("upstream")
        open_view(page, first, "requests")
        expect(page.get_by_text("live", exact=True)).to_be_visible()
        first.process.kill()
        first.process.wait()
        expect(page.get_by_text("disconnected")).to_be_visible()
    port = first.url.rpartition(":")[2]
    with running_gateway(tmp_path / "data", *flags, "--port", port, cache__semantic="false") as second:
        second.wait("upstream")
        expect(page.get_by_text("live", exact=True)).to_be_visible()
        second.post({"model": "m", "messages": [{"role": "user", "content": "Are you back?"}]})
        expect(page.get_by_role("link", name="Are you back?")).to_be_visible()
        page.get_by_role("link", name="KV cache").click()  # its files were not asked of the first one
        expect(page.get_by_role("heading", name="There is no local model")).to_be_visible()
        page.goto("about:blank")  # no reader is left for the gateway to wait for


def test_a_view_that_was_opened_while_the_server_was_away_is_there_when_it_is_back(
    page: Page, gateway: Gateway
) -> None:
    page.goto("about:blank")
    open_view(page, gateway, "entries")
    page.context.set_offline(True)
    for name in ("Prices", "Requests"):  # the modules of both are still to be fetched
        page.get_by_role("link", name=name, exact=True).click()
        expect(page.get_by_role("button", name="Try again")).to_be_visible()
    page.context.set_offline(False)

    expect(page.get_by_role("heading", name="Requests", level=1)).to_be_visible()
    page.get_by_role("link", name="Prices", exact=True).click()
    expect(page.get_by_role("heading", name="Prices", level=1)).to_be_visible()


@pytest.mark.parametrize("address", ["entries/%", "main"])
def test_no_address_is_a_blank_page(page: Page, gateway: Gateway, address: str) -> None:
    page.goto(f"{gateway.url}/admin#{'/' if '%' in address else ''}{address}")

    expect(page.get_by_role("heading", level=1)).to_be_visible()


def test_the_focus_goes_to_the_heading_of_what_was_opened(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "entries")
    page.get_by_role("link", name="Backends", exact=True).click()

    expect(page.get_by_role("heading", name="Backends", level=1)).to_be_focused()


def test_the_frame_is_used_with_the_keyboard(page: Page, gateway: Gateway) -> None:
    page.goto("about:blank")
    open_view(page, gateway, "entries")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()

    page.get_by_role("link", name="Playground", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Playground")).to_be_visible()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"


def test_the_colours_are_those_that_somebody_chose(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "entries", theme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Colours").click()
    page.get_by_role("button", name="Colours: light").click()

    assert page.evaluate(ground) != light
    page.reload()
    page.wait_for_selector("main .view > *")
    assert page.evaluate(ground) != light


def test_everybody_can_use_the_log_in(page: Page, keyed: Gateway) -> None:
    page.goto(f"{keyed.url}/admin")
    page.wait_for_selector("form")

    assert complaints_everywhere(page) == []
