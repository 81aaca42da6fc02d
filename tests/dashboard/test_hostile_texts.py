"""What somebody else wrote, in every place that the dashboard shows: texts, never markup, in no frame of others."""

from typing import Any

import httpx
import pytest
from playwright.sync_api import Dialog, Page

from tests.dashboard.looking import open_view
from tests.e2e.server import Gateway
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream

HURT = (
    '<img src=x onerror="window.hurt=1">',
    '"><svg onload=window.hurt=1>',
    "</title></textarea></script><script>window.hurt=1</script>",
    "javascript:window.hurt=1//",
    "{{constructor.constructor('window.hurt=1')()}}${window.hurt=1}",
    "<iframe srcdoc='<script>parent.hurt=1</script>'><base href=//evil.example><math><mi xlink:href=javascript:hurt=1>",
)
HOSTILE = " ".join(HURT)
VIEWS = ("", "requests", "entries", "keys", "kv", "quality", "prices", "backends", "playground")
WATCH = """() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
}"""
FOUND = """() => ({
    hurt: window.hurt ?? null,
    violations: window.violations,
    elements: [...document.querySelectorAll("iframe, base, math, [onload], [onerror], main script, main img[src=x]")]
        .map((element) => element.outerHTML),
    links: [...document.querySelectorAll("[href], [src], [action]")].filter((element) =>
        /^(javascript|data:text|\\/\\/evil)/i.test((element.getAttribute("href") ?? element.getAttribute("src") ??
            element.getAttribute("action")).trim())).map((element) => element.outerHTML),
})"""


def poison(gateway: Gateway, upstream: RunningUpstream) -> list[str]:
    """Write them wherever a caller or an upstream may; the addresses of what came of it."""
    admin = {"x-twicetold-admin": "1"}
    httpx.post(f"{gateway.url}/admin/api/keys", json={"name": HURT[0] + HURT[1]}, headers=admin, **LOOPBACK)
    views = []
    for text in HURT:
        upstream.control(next=[f"say:{text}"])
        body: dict[str, Any] = {"model": text, "messages": [{"role": "system", "content": text}]}
        body["messages"].append({"role": "user", "content": text})
        cache = {"namespace": text, "tags": [text]}
        said = gateway.post({**body, "cache": cache, "user": text, "metadata": {"a": text}}, authorization="Bearer x")
        if entry := said.headers.get("x-twicetold-entry"):
            views.append(f"entries/{entry}")
            verdict = {"entry": entry, "verdict": "good", "comment": text}
            mine = {"authorization": "Bearer x"}
            said_of_it = httpx.post(f"{gateway.url}/v1/cache/feedback", json=verdict, headers=mine, **LOOPBACK)
            assert said_of_it.status_code == 200, said_of_it.text
            views.append(f"requests/{said.json()['id']}")
        upstream.control(next=["error:400"])
        gateway.post({**body, "max_tokens": text}, authorization=f"Bearer {HURT[0]}")
    return views


def test_nothing_that_others_wrote_does_anything_in_any_view(
    page: Page, gateway: Gateway, upstream: RunningUpstream
) -> None:
    made = poison(gateway, upstream)
    dialogs: list[str] = []

    def close(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", close)
    open_view(page, gateway)
    page.evaluate(WATCH)
    searched = f"entries?text={httpx.QueryParams({'a': HURT[0]})}"
    shown = ""
    for view in (*VIEWS, *made, searched, f"entries?tag={HURT[1]}", f"nowhere/{HURT[0]}"):
        page.evaluate("(view) => { location.hash = '#/' + view; }", view)
        page.wait_for_timeout(150)
        page.wait_for_selector("main *")
        shown += page.inner_text("main")
        found = page.evaluate(FOUND)
        assert found == {"hurt": None, "violations": [], "elements": [], "links": []}, view
    page.remove_listener("dialog", close)

    assert dialogs == []
    assert shown.count("onerror") > 5, "the texts were not even shown"


@pytest.mark.parametrize(
    "path", ["", "/keys", "/entries", "/invalidate", "/erase", "/session", "/prices", "/tenants/x"]
)
@pytest.mark.parametrize("page_", [{"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}], ids=str)
def test_no_page_of_another_site_changes_anything(gateway: Gateway, path: str, page_: dict[str, str]) -> None:
    address = f"{gateway.url}/admin/api{path}"
    with httpx.Client(**LOOPBACK) as client:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
                said = client.request(method, address, content=b'{"key": "x"}', headers={**page_, "content-type": kind})
                assert said.status_code in (403, 404, 405, 415), (method, said.text)
                assert not any(name.startswith("access-control-") for name in said.headers)
