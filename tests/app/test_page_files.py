"""What the page is made of: no foreign code, colours that can be read, names for everything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.app.browsing import STATIC, static_page
from tests.evaluation.test_report_page import browser as browser  # a fixture
from tests.evaluation.test_report_page import contrast

MODULES = sorted(STATIC.glob("js/**/*.js"))
INDEX = (STATIC / "index.html").read_text(encoding="utf-8")
LONGEST = 250  # lines
TEXTS = [  # text colour, ground, contrast that is needed: 4.5 for text, 3 for what marks a control
    *((text, ground, 4.5) for text in ("text", "muted", "accent") for ground in ("ground", "surface")),
    ("text", "raised", 4.5),
    ("text", "accent-soft", 4.5),
    ("muted", "accent-soft", 4.5),
    ("text", "error-soft", 4.5),
    ("on-accent", "accent", 4.5),
    ("on-accent", "accent-strong", 4.5),
    ("on-stage", "stage", 4.5),
    ("error", "surface", 4.5),
    ("error", "ground", 4.5),
    ("warn", "surface", 3),
    ("control-line", "surface", 3),
    ("accent", "raised", 3),
]


def test_modules_are_small_and_put_no_foreign_text_into_the_page_as_code() -> None:
    assert len(MODULES) > 25
    for file in [*MODULES, *STATIC.glob("css/*.css")]:
        text = file.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= LONGEST, file.name
        risky = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
        )
        assert risky == [], file.name
        addresses = set(re.findall(r"https?://[^\"'\s)]+|@import|url\(", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, file.name


def test_every_import_is_there() -> None:
    for file in MODULES:
        for name in re.findall(r'from "(\.[^"]+)"', file.read_text(encoding="utf-8")):
            assert (file.parent / name).resolve().is_file(), f"{file.name} imports {name}"
    for name in re.findall(r'(?:src|href)="/static/([^"]+)"', INDEX):
        assert (STATIC / name).is_file(), name


def test_the_page_holds_no_code_and_what_the_modules_look_for() -> None:
    assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:", INDEX) == []
    assert re.findall(r"<script[^>]*>(.*?)</script>", INDEX, re.DOTALL) == [""]
    ids = re.findall(r'\sid="([^"]+)"', INDEX)
    assert len(ids) == len(set(ids))
    wanted = set()
    for file in MODULES:
        wanted |= set(re.findall(r'"#([a-z][a-z0-9-]+)(?:\[[^"]*)?"', file.read_text(encoding="utf-8")))
    wanted = {name for name in wanted if not re.fullmatch("[0-9a-f]{6}|rrggbb", name)}  # those are colours
    assert len(wanted) > 60 and wanted - set(ids) == set()
    icons = {
        name for file in MODULES for name in re.findall(r'icon(?:Button)?\("([a-z-]+)"', file.read_text())
    }
    assert {f"i-{name}" for name in icons} <= set(ids) and "eye" in icons


@pytest.fixture(scope="module")
def page(browser: Any) -> Iterator[Any]:
    """The page without a server behind it."""
    opened = static_page(browser, {"/api/info": lambda request: (404, {"error": "nobody is there"})})
    yield opened
    opened.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_read(page: Any, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    names = sorted({name for text, ground, _ in TEXTS for name in (text, ground)})
    colours = page.evaluate(
        "names => names.map((name) => { const one = document.createElement('i');"
        " one.style.color = `var(--${name})`; document.body.append(one);"
        " const { color } = getComputedStyle(one); one.remove(); return color; })",
        names,
    )
    known = dict(zip(names, colours, strict=True))
    assert len(set(known.values())) > 10
    poor = {
        f"{text} on {ground}": round(contrast(known[text], known[ground]), 2)
        for text, ground, needed in TEXTS
        if contrast(known[text], known[ground]) < needed
    }
    assert poor == {}


@pytest.mark.slow
def test_everything_that_can_be_used_has_a_name(page: Any) -> None:
    nameless = page.evaluate(
        "Array.from(document.querySelectorAll('button, input, canvas, progress, dialog, a, [role]'))"
        ".filter((one) => {"
        " const labelled = one.getAttribute('aria-labelledby');"
        " const name = one.getAttribute('aria-label') || (labelled && document.getElementById(labelled))"
        "   || one.textContent.trim() || (one.labels && one.labels.length);"
        " return !name && one.getAttribute('role') !== 'status' && !one.id.startsWith('ask'); })"
        ".map((one) => one.outerHTML.slice(0, 120))"
    )
    # What a page fills in before it can be seen.
    filled = ("tab-", "clip-name")
    assert [text for text in nameless if not any(part in text for part in filled)] == []


@pytest.mark.slow
def test_a_server_that_says_no_is_told_of_and_messages_can_be_closed(page: Any) -> None:
    page.wait_for_selector(".message.error >> text=nobody is there")
    area = page.locator("#messages")
    assert area.get_attribute("aria-live") == "polite"
    told = page.locator(".message.error", has_text="nobody is there")
    told.locator("button[aria-label='Close this message']").click()
    assert told.count() == 0
