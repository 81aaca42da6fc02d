"""Quality with live data: how often hits by meaning were wrong, against the target, and the target itself."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.looking import DESK, PHONE, complaints, open_view
from tests.e2e.server import Gateway, running_gateway
from tests.upstream import RunningUpstream

QUESTION = "How do I reset my password?"
OTHER_WORDS = "how do i reset my password"  # the same in its bare form


@pytest.fixture(scope="module")
def taught(upstream: RunningUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that served a hit by meaning, of which a user said that it was wrong."""
    folder = tmp_path_factory.mktemp("quality") / "data"
    with running_gateway(folder, "--upstream", upstream.base_url, cache__shadow_rate="0") as running:
        running.wait("upstream", "semantic")
        running.post(_body(QUESTION))
        running.wait_for(lambda stats: stats["vectors"], 1)
        hit = running.post(_body(OTHER_WORDS))
        assert hit.headers["x-twicetold-tier"] == "semantic"
        said = {"id": hit.json()["id"], "verdict": "bad"}
        httpx.post(f"{running.url}/v1/cache/feedback", json=said, trust_env=False).raise_for_status()
        yield running


def _body(question: str) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": question}]}


def lane_of(gateway: Gateway) -> dict[str, object]:
    (lane,) = gateway.get("/admin/api/quality").json()["lanes"]
    return dict(lane)


def test_without_a_semantic_tier_it_says_how_to_get_one(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "quality")

    expect(page.get_by_role("heading", name="The semantic tier is off")).to_be_visible()
    assert gateway.get("/admin/api/quality").json() == {"is_on": False, "lanes": []}


def test_the_rate_is_shown_with_its_interval_and_the_target(page: Page, taught: Gateway) -> None:
    open_view(page, taught, "quality")

    expect(page.locator(".figure").first).to_contain_text("1 of 1 hit whose outcome is known")
    interval = page.get_by_role("img", name="100 % wrong (1 of 1)")
    told = "1 of 1); with 95 % confidence over 5.00 %, and under 100 %; target 1.00 %"
    expect(interval).to_have_attribute("aria-label", f"100 % wrong ({told}")
    expect(page.get_by_text("over the target").first).to_be_visible()


def test_would_be_hits_are_drawn_with_the_threshold(page: Page, taught: Gateway) -> None:
    open_view(page, taught, "quality")
    picture = page.get_by_role("img", name="1 would-be hit by chance of being wrong; threshold at")
    expect(picture.locator("rect.bar.serve")).to_have_count(1)
    expect(picture.locator(".threshold")).to_have_count(1)
    page.get_by_role("button", name="What labels said").click()

    expect(page.locator(".histogram rect.bar.wrong")).to_have_count(1)


def test_mode_and_target_are_changed_here(page: Page, taught: Gateway) -> None:
    open_view(page, taught, "quality")
    page.get_by_role("button", name="Shadow").click()
    expect(page.get_by_text("Mode is shadow now.")).to_be_visible()
    page.get_by_label("Target: wrong hits of all hits").fill("2.5")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(page.get_by_text("The target is 2.50 % now.")).to_be_visible()

    lane = lane_of(taught)
    assert (lane["mode"], lane["max_wrong_hit_rate"]) == ("shadow", 0.025)
    page.get_by_label("Target: wrong hits of all hits").fill("90")
    expect(page.get_by_role("button", name="Set", exact=True)).to_be_disabled()


def test_everybody_can_use_it(page: Page, taught: Gateway) -> None:
    for size, theme in ((DESK, "light"), (PHONE, "dark")):
        open_view(page, taught, "quality", size=size, theme=theme)
        assert complaints(page) == []
