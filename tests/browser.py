"""Pages in a browser that is watched: what they ask for, and what they say in the console."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def watched_pages(
    browser: Any,
    may_ask: Callable[[str, str], bool],
    is_wrong: Callable[[Any], bool] = lambda said: True,
    **settings: Any,
) -> Iterator[Callable[..., Any]]:
    """Opens addresses, on a phone or not, dark or not; at the end nothing may have gone wrong on any page.

    Args:
        browser: Chromium of Playwright.
        may_ask: whether a page at an address, the first argument, may ask for another, the second.
        is_wrong: whether a message in the console is a fault.
        settings: of each browser context.
    """
    opened: list[tuple[Any, list[str]]] = []

    def open_at(address: str, *, phone: bool = False, dark: bool = False) -> Any:
        size = {"width": 360, "height": 740} if phone else {"width": 1200, "height": 900}
        context = browser.new_context(viewport=size, color_scheme="dark" if dark else "light", **settings)
        page, wrong = context.new_page(), []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("console", lambda said: wrong.append(said.text) if is_wrong(said) else None)
        page.on("request", lambda asked: None if may_ask(address, asked.url) else wrong.append(asked.url))
        page.goto(address)
        opened.append((context, wrong))
        return page

    yield open_at
    for context, wrong in opened:
        context.close()
        assert wrong == []


def colors_of(page: Any, selector: str) -> list[str]:
    """The background of each element that matches, `#rrggbb`."""
    seen = page.locator(selector).evaluate_all(
        "all => all.map(each => getComputedStyle(each).backgroundColor)"
    )
    return ["#" + "".join(f"{int(part):02x}" for part in re.findall(r"\d+", color)) for color in seen]
