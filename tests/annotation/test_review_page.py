"""The review pages, as text and in a real browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sam2_video.annotation import Settings
from sam2_video.annotation.files import Record, jpeg, picture_file
from sam2_video.annotation.review_page import PER_PAGE, Summary, kinds_of, write_pages
from sam2_video.sinks.base import make_folder, write_whole
from tests.annotation.toys import picture
from tests.evaluation.test_report_page import browser as browser  # a fixture

EVIL = '<img src=x onerror="alert(1)">\'.jpg'
LONG = "a_name_without_any_place_to_break_it_" * 6


def record(number: int, out: Path, **more: Any) -> Record:
    name = more.pop("name", f"p{number}")
    known = Record(name, f"{name}.jpg", number, "", "", "", size=(48, 80), **more)
    if not known.error:
        path = picture_file(out, "thumbnails", name)
        make_folder(path.parent)
        write_whole(path, jpeg(picture(number)))
    return known


def records(out: Path) -> list[Record]:
    """One picture of each kind there is."""
    counts = {"candidates": 27, "predicted_iou": 5, "stability": 4, "edge": 3, "duplicate": 2, "size": 1}
    files = ("annotations", "thumbnails")
    return [
        record(1, out, counts={**counts, "kept": 12}, files=files),
        record(2, out, counts=counts, reasons=("no mask",), files=files),
        record(3, out, counts={**counts, "kept": 9, "doubted": 3}, reasons=("stability",), files=files),
        record(4, out, error=f"no picture: {EVIL}", name="evil"),
        record(5, out, counts={"kept": 1}, reasons=("prompt",), remarks=(LONG,) * 30, files=files, name=LONG),
        record(6, out, counts={"masklets": 4, "frames": 8}, files=("masklets", "thumbnails"), is_clip=True),
    ]


def shown(page: Any) -> list[str]:
    """The pictures that can be seen."""
    return page.evaluate(
        "Array.from(document.querySelectorAll('.picture')).filter(one => one.offsetParent !== null)"
        ".map(one => one.id)"
    )


def test_what_is_said_of_pictures(tmp_path: Path) -> None:
    (path,) = write_pages(tmp_path, records(tmp_path), Summary(Settings("semi"), "nano"))
    text = path.read_text(encoding="utf-8")
    assert EVIL not in text and "&lt;img src=x onerror=" in text
    assert "<script" not in text and "http://" not in text and "https://" not in text
    cells = dict(re.findall(r"<tr><th>(.*?)</th><td class=\"n\">(.*?)</td></tr>", text))
    assert cells == {
        "pictures": "4",
        "clips": "1",
        "their masklets": "4",
        "could not be annotated": "1",
        "candidates": "81",
        "left out: low predicted IoU": "15",
        "left out: not stable": "12",
        "left out: cut off by the edge of a crop": "9",
        "left out: a duplicate of a better mask": "6",
        "left out: too small or too large": "3",
        "kept": "22",
        "for a person to decide on": "3",
    }
    assert text.count("data:image/jpeg;base64,") == 5
    assert "and 10 more" in text  # of thirty remarks


def test_a_large_folder_takes_several_pages(tmp_path: Path) -> None:
    many = [record(k, tmp_path, reasons=("no mask",)) for k in range(1, 2 * PER_PAGE + 2)]
    pages = write_pages(tmp_path, many, Summary(Settings(), "nano"))
    assert [path.name for path in pages] == ["review.html", "review-2.html", "review-3.html"]
    assert [path.read_text().count("<article") for path in pages] == [PER_PAGE, PER_PAGE, 1]
    links = re.findall(r'href="(review[-\d]*\.html)#(p\d+)"', pages[0].read_text())
    assert len(links) == len(many)
    for name, anchor in links:
        assert f'id="{anchor}"' in (tmp_path / name).read_text()
    write_pages(tmp_path, many[:3], Summary(Settings(), "nano"))
    assert [path.name for path in tmp_path.glob("*.html")] == ["review.html"]


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (500, "dark")])
def test_in_a_browser(browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    known = records(tmp_path)
    (path,) = write_pages(tmp_path, known, Summary(Settings("semi"), "nano"))
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda one: asked.append(one.url))
    page.goto(path.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert said == [] and page.evaluate("document.scripts.length") == 0
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth") <= page.evaluate(f"{root}.clientWidth")
    assert shown(page) == ["p1", "p2", "p3", "p4", "p5", "p6"]
    for text, expected in (
        ("no mask is kept", ["p2"]),
        ("not stable", ["p3"]),
        ("could not be annotated", ["p4"]),
        ("nothing to look at", ["p1", "p6"]),
        ("all (6)", ["p1", "p2", "p3", "p4", "p5", "p6"]),
    ):
        page.get_by_label(re.compile(rf"^{re.escape(text)}")).check(force=True)
        assert shown(page) == expected, text
    images = page.evaluate("Array.from(document.images, one => [one.complete, one.naturalWidth])")
    assert len(images) == 5 and all(complete and pixels == 80 for complete, pixels in images)
    page.close()


def test_kinds_that_nobody_knows_are_passed_over(tmp_path: Path) -> None:
    assert kinds_of(record(1, tmp_path, reasons=("stability", "new in a later version"))) == ["stability"]
