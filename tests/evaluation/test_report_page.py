"""The report in a real browser: no errors, nothing fetched or wider than the window, all pictures there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from sam2_video.evaluation.report import write_report
from sam2_video.evaluation.results import Round, SequenceRun
from sam2_video.evaluation.scores import MetricOptions, score_objects, summarise
from tests.evaluation.toys import EVIL, clip, data_set, drifting, evaluation, without

BROWSERS = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)
LONG = "a_name_without_any_place_to_break_it_" * 6
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium without a window. Where there is none, tests are skipped; with CI=true they fail."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        reason = "no Chromium is installed; on Debian: apt-get install chromium-headless-shell"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with all that a report may hold: failures, missing masks, interactions, nasty and long names."""
    data = data_set(clip("walk", (1, 2, 3)), clip(EVIL, (1, 9)), clip(LONG), clip("broken"))
    reads = {one.name: drifting(one) for one in data.sequences} | {
        LONG: without(drifting(data.sequences[2]), 3, 4)
    }
    options = MetricOptions(allow_incomplete=True)
    summary = summarise(
        replace(score, category=LONG)
        for one in data.sequences[:3]
        for score in score_objects(one, reads[one.name], options)
    )
    result = evaluation(data, SequenceRun("broken", 2, 0.1, error=f"{LONG}\n{EVIL}"), summary=summary)
    rounds = tuple(Round(1, n, n, ((5, 6, 1),) * 3, 0.5 + n / 20, 0.6) for n in range(1, 9))
    result = replace(result, runs=(replace(result.runs[0], rounds=rounds), *result.runs[1:]))
    path = tmp_path_factory.mktemp("report") / "report.html"
    return write_report(path, result, data, lambda one: reads[one.name])


@dataclass
class Seen:
    """What happened while a page was open."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture(params=[(1280, "light"), (800, "dark")], ids=["wide-light", "narrow-dark"])
def seen(request: pytest.FixtureRequest, browser: Any, report: Path) -> Iterator[Seen]:
    width, scheme = request.param
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    found = Seen(page)
    page.on("console", lambda message: found.said.append(message.text))
    page.on("pageerror", lambda error: found.said.append(str(error)))
    page.on("dialog", lambda dialog: (found.said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda asked: found.asked.append(asked.url))
    page.goto(report.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    yield found
    page.close()


def test_it_opens_without_errors_and_asks_for_nothing(seen: Seen, report: Path) -> None:
    assert seen.said == []
    assert [url for url in seen.asked if not url.startswith("data:")] == [report.as_uri()]
    assert seen.page.evaluate("document.scripts.length") == 0
    assert "1 of 4 sequences FAILED" in seen.page.title()


def test_nothing_is_wider_than_the_window(seen: Seen) -> None:
    root = "document.documentElement"
    assert seen.page.evaluate(f"{root}.scrollWidth") <= seen.page.evaluate(f"{root}.clientWidth")


def test_pictures_and_plots_are_there(seen: Seen) -> None:
    sizes = seen.page.evaluate("Array.from(document.images, one => [one.complete, one.naturalWidth])")
    assert len(sizes) > 8 and all(complete and width > 0 for complete, width in sizes)
    plots = seen.page.evaluate(
        "Array.from(document.querySelectorAll('svg.plot'), one => one.getBBox().width)"
    )
    assert (
        len(plots) == 4 and min(plots) > 900
    )  # three sequences and the interactions; with the grid they share
    # A line that no rule of the style sheet reaches would be filled with black, or not drawn at all.
    lines = seen.page.evaluate(
        "Array.from(document.querySelectorAll('path.line'), one => getComputedStyle(one))"
        ".map(style => [style.fill, style.stroke])"
    )
    assert lines and {fill for fill, _ in lines} == {"none"} and "none" not in {stroke for _, stroke in lines}


def test_the_figures_can_be_read(seen: Seen) -> None:
    text = seen.page.inner_text("body")
    assert text.index("1 sequence of 4 failed") < text.index("nano on toy val")
    for words in ("2 masks without a prediction", EVIL, "J&F over time", "Worst objects", "What was run"):
        assert words in text
    first, page = seen.page.evaluate(
        "[document.querySelector('.tile .value'), document.body].map(one => getComputedStyle(one))"
        ".map((style, k) => k ? style.backgroundColor : style.color)"
    )
    assert contrast(first, page) > 4.5


def test_dark_is_dark_and_prints_are_light(seen: Seen) -> None:
    def page_colour() -> float:
        return luminance(seen.page.evaluate("getComputedStyle(document.body).backgroundColor"))

    dark = seen.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert page_colour() < 0.05 if dark else page_colour() > 0.9
    seen.page.emulate_media(media="print")
    assert page_colour() > 0.9


def luminance(colour: str) -> float:
    """Relative luminance of "rgb(r, g, b)", as WCAG defines it."""
    shares = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    red, green, blue = (s / 12.92 if s <= 0.03928 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast of two colours, 1 to 21, as WCAG defines it."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
