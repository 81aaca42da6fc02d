"""What the tests of several views do with a page: open one, and look whether people can use it."""

from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests.e2e.server import Gateway

DESK = (1280, 800)
PHONE = (390, 844)

# Every element that is there to be used has a name; every text differs enough from what is behind it (WCAG: 4.5, or 3
# for large text); nothing is wider than the screen.
COMPLAINTS = (Path(__file__).parent / "complaints.js").read_text("utf-8")


def open_view(page: Page, gateway: Gateway, view: str = "", *, size: tuple[int, int] = DESK, theme: str = "") -> None:
    """Show a view (`entries`, `entries/e_1?text=moon`), and wait until it is drawn."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    if theme:
        page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    page.goto(f"{gateway.url}/admin#/{view}")
    name = view.partition("?")[0].partition("/")[0]
    page.wait_for_selector(f"main .view{'-' if name else ''}{name} > *")


def complaints_everywhere(page: Page) -> list[str]:
    """The same on a large and a small screen, in light and in dark colours, without opening the page anew."""
    found = []
    for width, height in (PHONE, DESK):
        page.set_viewport_size({"width": width, "height": height})
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
            page.wait_for_selector(f"html[data-theme={theme}]", state="attached")
            found += [f"{width} px, {theme}: {one}" for one in complaints(page)]
    return found


def complaints(page: Page) -> list[str]:
    """What somebody could not use on the page as it is now: names, contrast, width."""
    found: list[Any] = page.evaluate(COMPLAINTS)
    return [str(one) for one in found]
