"""Entries in the dashboard: found, opened, judged, retired; also ten thousand of them, and hostile ones."""

import re
from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.looking import complaints_everywhere, open_view
from tests.dashboard.seeding import seed
from tests.e2e.server import Gateway, running_gateway
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream

MANY = 10_000
WATCH = """() => {
    window.slow = [];
    const note = (list) => window.slow.push(...list.getEntries().map((one) => one.duration));
    new PerformanceObserver(note).observe({entryTypes: ["longtask"]});
}"""
HOLD_WHAT_IS_TYPED = """() => {
    const later = window.setTimeout.bind(window);
    window.held = [];
    window.setTimeout = (work, ms, ...args) => ms === 250 ? window.held.push(work) : later(work, ms, ...args);
}"""
OPEN_AND_LET_GO = {
    "before the address is read": "(row) => { row.click(); window.held.at(-1)(); }",
    "while the entry is loaded": """(row) => {
        window.addEventListener("hashchange", () => window.held.at(-1)(), {once: true});
        row.click();
    }""",
}
HOSTILE = '<img src=x onerror="window.hurt=1"><script>window.hurt=1</script> ${alert(1)} &amp; \u202e'


@pytest.fixture(scope="module")
def gateway(upstream: RunningUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that has ten thousand answers since before it started."""
    folder = tmp_path_factory.mktemp("entries") / "data"
    seed(folder, MANY)
    with running_gateway(folder, "--upstream", upstream.base_url, cache__semantic="false") as running:
        running.wait("upstream")
        yield running


Keep = Callable[..., str]


@pytest.fixture
def keep(gateway: Gateway, upstream: RunningUpstream) -> Keep:
    """Asks, waits until the answer is stored, and names its entry."""

    def keep(text: str, *tags: str, answer: str = "") -> str:
        before = gateway.stats()["entries"]
        upstream.control(next=[f"say:{answer}"] if answer else [])
        body = {"model": "m", "messages": [{"role": "user", "content": text}], "cache": {"tags": list(tags)}}
        entry: str = gateway.post(body).headers["x-twicetold-entry"]
        gateway.wait_for(lambda stats: stats["entries"] > before, True)
        return entry

    return keep


def search(page: Page, text: str) -> None:
    page.get_by_role("searchbox").fill(text)
    page.keyboard.press("Enter")


def test_ten_thousand_entries_are_gone_through_without_lag(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "entries")
    page.evaluate(WATCH)
    expect(page.get_by_text("10,000 entries")).to_be_visible()
    page.wait_for_selector(".entry-row")
    deep = 0
    for _ in range(40):
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        page.wait_for_timeout(60)
        deep = page.locator(".entry-row").count()
        assert deep < 120  # only what can be seen is there
    rows = page.evaluate(
        "Math.max(...[...document.querySelectorAll('.rows li[aria-posinset]')].map((row) => +row.ariaPosInSet))"
    )
    assert rows > 1000
    search(page, "4242")
    expect(page.get_by_text("1 entry", exact=True)).to_be_visible()
    page.get_by_role("link", name="(case 4242)").click()
    expect(page.get_by_role("region", name="Answer")).to_contain_text("the steps for case 4242")
    page.go_back()
    expect(page.locator(".entry-row")).to_have_count(1)
    search(page, "")
    expect(page.get_by_text("10,000 entries")).to_be_visible()
    assert max(page.evaluate("window.slow"), default=0) < 1000  # of a busy machine; a whole list would take far more


def test_an_entry_is_found_by_words_of_its_question_or_its_answer(page: Page, gateway: Gateway, keep: Keep) -> None:
    keep("Where is the lighthouse?", answer="On the western cape.")
    open_view(page, gateway, "entries")
    for words in ("lighthouse", "western CAPE"):
        search(page, "no such words anywhere")
        expect(page.get_by_role("heading", name="Nothing was found")).to_be_visible()
        search(page, words)
        expect(page.get_by_text("1 entry", exact=True)).to_be_visible()
        expect(page.get_by_role("link", name="Where is the lighthouse?")).to_be_visible()


def test_a_search_is_kept_in_the_address(page: Page, gateway: Gateway, keep: Keep) -> None:
    keep("A question about mangroves", "swamp")
    open_view(page, gateway, "entries?tag=swamp")

    expect(page.get_by_role("link", name="mangroves")).to_be_visible()
    expect(page.get_by_text("1 entry", exact=True)).to_be_visible()
    search(page, "mangroves")
    expect(page).to_have_url(f"{gateway.url}/admin#/entries?tag=swamp&text=mangroves")


def test_what_others_wrote_is_shown_as_text(page: Page, gateway: Gateway, keep: Keep) -> None:
    entry = keep(HOSTILE, HOSTILE[:60], answer=HOSTILE)
    open_view(page, gateway, "entries?text=window.hurt")
    expect(page.locator(".entry-row").first).to_contain_text("<script>")
    expect(page.locator(".entry-row .question").first).to_have_attribute("dir", "auto")
    page.goto(f"{gateway.url}/admin#/entries/{entry}")

    expect(page.locator(".message.answer")).to_contain_text('<img src=x onerror="window.hurt=1">')
    assert page.evaluate("window.hurt") is None
    assert page.locator("main img, main script").count() == 0


def test_one_entry_tells_all_of_itself(page: Page, gateway: Gateway, keep: Keep) -> None:
    entry = keep("How deep is the lake?", "lakes", answer="Ninety metres.")
    gateway.post({"model": "m", "messages": [{"role": "user", "content": "How deep is the lake?"}]})
    gateway.wait_for(lambda _: gateway.get(f"/admin/api/entries/{entry}").json()["hits"], 1)
    open_view(page, gateway, f"entries/{entry}")

    expect(page.get_by_role("heading", name="How deep is the lake?")).to_be_visible()
    expect(page.get_by_role("region", name="Answer")).to_contain_text("Ninety metres.")
    expect(page.get_by_role("region", name="Use")).to_contain_text("Hits1")
    expect(page.get_by_role("region", name="Cost to make")).to_contain_text("token")
    expect(page.get_by_role("region", name="Provenance")).to_contain_text("anonymous")
    expect(page.get_by_role("region", name="Verdicts")).to_contain_text("Nobody said anything yet")


def test_another_wording_of_a_question_stands_with_it(page: Page, gateway: Gateway) -> None:
    found = gateway.get("/admin/api/entries?text=case+9999").json()["data"]
    open_view(page, gateway, f"entries/{found[0]['alias_of']}")
    expect(page.get_by_role("heading", name="(case 0)")).to_be_visible()
    page.get_by_role("region", name="Also asked as (1)").get_by_role("link", name="(case 9999)").click()

    expect(page.get_by_role("heading", name="(case 9999)")).to_be_visible()
    expect(page.get_by_role("region", name="Provenance").get_by_role("link")).to_have_text(found[0]["alias_of"])


def test_somebody_finds_a_wrong_answer_and_retires_it(page: Page, gateway: Gateway, keep: Keep) -> None:
    question = "Which year was the tower built?"
    entry = keep(question, answer="In 2031.")
    open_view(page, gateway, "entries")
    search(page, "tower built")
    page.get_by_role("link", name=question).click()
    expect(page.get_by_text("In 2031.")).to_be_visible()
    page.get_by_role("button", name="Bad…").click()
    page.get_by_label("Comment").fill("That year is yet to come.")
    page.get_by_role("button", name="Judge bad").click()

    expect(page.get_by_text("Judged bad and retired")).to_be_visible()
    expect(page.get_by_role("heading", name="Entries")).to_be_visible()
    assert gateway.get(f"/admin/api/entries/{entry}").status_code == 404
    again = gateway.post({"model": "m", "messages": [{"role": "user", "content": question}]})
    assert again.headers["x-twicetold-tier"] == "full"


@pytest.mark.parametrize("moment", ["before the address is read", "while the entry is loaded"])
def test_what_was_typed_last_is_not_looked_for_once_an_entry_is_opened(
    page: Page, gateway: Gateway, keep: Keep, moment: str
) -> None:
    question = f"Who has the key of the tower, {moment}?"
    entry = keep(question, answer="The warden.")
    open_view(page, gateway, "entries")
    page.evaluate(HOLD_WHAT_IS_TYPED)
    search(page, "key of the tower")
    row = page.get_by_role("link", name=question)
    expect(row).to_be_visible()
    page.get_by_role("searchbox").fill("key of the")
    row.evaluate(OPEN_AND_LET_GO[moment])

    expect(page.get_by_text("The warden.")).to_be_visible()
    expect(page).to_have_url(re.compile(f"#/entries/{entry}$"))


def test_a_verdict_is_kept_with_its_comment(page: Page, gateway: Gateway, keep: Keep) -> None:
    entry = keep("Is the bridge open?")
    open_view(page, gateway, f"entries/{entry}")
    page.get_by_role("button", name="Good").click()
    expect(page.get_by_text("1 good")).to_be_visible()
    page.get_by_role("button", name="Bad…").click()
    page.get_by_label("Comment").fill("It was, yesterday.")
    page.get_by_label("Retire it now").uncheck()
    page.get_by_role("button", name="Judge bad").click()

    expect(page.get_by_text("It was, yesterday.")).to_be_visible()
    expect(page.get_by_text("1 bad")).to_be_visible()


def test_an_entry_is_deleted_after_it_was_asked_whether(page: Page, gateway: Gateway, keep: Keep) -> None:
    entry = keep("Is the ferry late?")
    open_view(page, gateway, f"entries/{entry}")
    page.get_by_role("button", name="Delete").click()
    page.keyboard.press("Escape")
    assert gateway.get(f"/admin/api/entries/{entry}").status_code == 200
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()

    expect(page.get_by_text("1 entry removed.")).to_be_visible()
    assert gateway.get(f"/admin/api/entries/{entry}").status_code == 404


def test_a_tag_is_invalidated_after_a_dry_run(page: Page, gateway: Gateway, keep: Keep) -> None:
    entries = [keep(f"Price of ticket {number}?", "tickets") for number in range(3)]
    open_view(page, gateway, "entries")
    page.get_by_role("button", name="Invalidate…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Tag").fill("tickets")
    expect(dialog.get_by_role("button", name="Invalidate", exact=True)).to_be_disabled()
    dialog.get_by_role("button", name="Count first").click()
    expect(dialog.get_by_text("3 entries would go.")).to_be_visible()
    assert gateway.get(f"/admin/api/entries/{entries[0]}").status_code == 200
    dialog.get_by_role("button", name="Invalidate 3 entries").click()

    expect(page.get_by_text("3 entries removed.")).to_be_visible()
    assert {gateway.get(f"/admin/api/entries/{entry}").status_code for entry in entries} == {404}


def test_what_came_in_after_the_count_is_not_invalidated_with_it(page: Page, gateway: Gateway, keep: Keep) -> None:
    entry = keep("When does the ferry leave?", "ferries")
    open_view(page, gateway, "entries")
    page.get_by_role("button", name="Invalidate…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Tag").fill("ferries")
    dialog.get_by_role("button", name="Count first").click()
    expect(dialog.get_by_text("1 entry would go.")).to_be_visible()
    later = keep("When does the ferry come back?", "ferries")
    dialog.get_by_role("button", name="Invalidate 1 entry").click()

    expect(page.get_by_text("1 entry removed.")).to_be_visible()
    assert [gateway.get(f"/admin/api/entries/{name}").status_code for name in (entry, later)] == [404, 200]


def test_what_is_invalidated_is_what_the_page_shows_and_a_search_is_said_to_be_no_part_of_it(
    page: Page, gateway: Gateway, keep: Keep
) -> None:
    keep("Where do the herons nest?", "birds")
    open_view(page, gateway, "entries?tag=birds&tenant=somebody-else&model=m&text=herons")
    page.get_by_role("button", name="Invalidate…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Tenant")).to_have_value("somebody-else")
    expect(dialog).to_contain_text("“herons” is no part of this")
    dialog.get_by_role("button", name="Count first").click()

    expect(dialog.get_by_text("Nothing would go.")).to_be_visible()


def test_an_entry_that_is_gone_is_told_as_such(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "entries/e_nothing")

    expect(page.get_by_role("heading", name="This entry is gone")).to_be_visible()


def test_a_list_is_gone_through_with_the_keyboard(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "entries")
    page.wait_for_selector(".entry-row")
    page.locator(".entry-row").first.focus()
    for _ in range(30):
        page.keyboard.press("Tab")
    place = page.evaluate("+document.activeElement.closest('li').ariaPosInSet")

    assert place == 31
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Provenance")).to_be_visible()


def test_back_from_an_entry_is_the_same_place_of_the_list(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "entries?text=invoice")
    page.wait_for_selector(".entry-row")
    page.evaluate("scrollTo(0, 2500)")
    row = page.locator("li[aria-posinset='60'] a")
    question = row.locator(".question").inner_text()
    row.click()
    expect(page.get_by_role("heading", name=question)).to_be_focused()
    top = page.evaluate("scrollY")
    page.get_by_role("link", name="All entries").click()

    expect(page.get_by_role("link", name=question)).to_be_focused()
    expect(page.get_by_role("searchbox")).to_have_value("invoice")
    assert (top, page.evaluate("scrollY")) == (0, 2500)


def test_everybody_can_use_it(page: Page, gateway: Gateway) -> None:
    entry = httpx.get(f"{gateway.url}/admin/api/entries?limit=1&tag=shop", **LOOPBACK).json()["data"][0]["id"]
    for view, ready in ((f"entries/{entry}", ".facts"), ("entries?tag=shop", ".entry-row")):
        open_view(page, gateway, view)
        page.wait_for_selector(ready)
        assert complaints_everywhere(page) == []
    page.get_by_role("button", name="Invalidate…").click()
    assert complaints_everywhere(page) == []
