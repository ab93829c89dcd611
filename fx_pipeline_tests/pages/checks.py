"""Checks of the page that a visitor has open."""

from axe_playwright_python.sync_playwright import Axe

from fx_pipeline_tests.pages.browser import Visitor


def failures(visitor: Visitor, *rules: str) -> list[str]:
    """Return the serious and critical findings of axe with their elements, for all rules or some."""
    options = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
    found = Axe().run(visitor.page, options=options).response["violations"]
    return [
        f"{one['id']}: {[(node['html'], node['failureSummary']) for node in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def wider_than_the_window(visitor: Visitor) -> list[str]:
    """Return the elements beyond the right edge of the window, if the page scrolls sideways."""
    found: list[str] = visitor.evaluate(
        """() => document.documentElement.scrollWidth <= innerWidth ? [] :
            [...document.querySelectorAll("body *")]
                .filter((element) => element.getBoundingClientRect().right > innerWidth)
                .map((element) => element.outerHTML.slice(0, 200))"""
    )
    return found


def wider_than_their_box(visitor: Visitor) -> list[str]:
    """Return the elements that are cut off on the right, except those for screen readers only."""
    found: list[str] = visitor.evaluate(
        """() => [...document.querySelectorAll("main, main *:not(.hear)")]
            .filter((one) => getComputedStyle(one).overflowX !== "visible")
            .filter((one) => one.scrollWidth > one.clientWidth)
            .map((one) => one.outerHTML.slice(0, 200))"""
    )
    return found
