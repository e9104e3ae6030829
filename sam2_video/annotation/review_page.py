"""The review pages: what was kept, dropped and why, as HTML that needs no network, no script, no other file.

OUT/review.html has the figures and the first pictures, OUT/review-2.html, ... the others. Pictures are
chosen by reason with the buttons at the top of each page, which style sheets alone make work.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from sam2_video.annotation.annotator import REASONS
from sam2_video.annotation.files import Record, picture_file
from sam2_video.annotation.settings import Settings
from sam2_video.evaluation.report.html import Child, Html, element, folded
from sam2_video.sinks.base import remove, write_whole

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # nothing is fetched, nothing runs
PER_PAGE = 60  # pictures; about 1.5 MB
LISTED = 400  # names of a reason that the first page lists
NEAR = 5  # pages in each direction that a page links to
REMARKS = 20  # of a picture that are shown
PAGE = "review{}.html"
# Why a person should look at a picture, beside the words of `REASONS`.
MORE = {
    "error": "could not be annotated",
    "no mask": "no mask is kept",
    "no prompt": "nothing is asked for",
}
KINDS = {**REASONS, **MORE}
MODES = {
    "auto": "automatic masks; all that pass the filters are kept",
    "semi": "automatic masks; those that the model is sure of are kept, the others are for a person",
    "assisted": "masks of what prompts ask for",
}


@dataclass(frozen=True)
class Summary:
    """What the pages say of the run itself."""

    settings: Settings
    model: str
    categories: Mapping[str, int] = field(default_factory=dict)


def write_pages(out: Path, records: Sequence[Record], summary: Summary) -> list[Path]:
    """Write the pages and remove those that are too many; returns their paths. Raises SinkError."""
    parts = [records[k : k + PER_PAGE] for k in range(0, len(records), PER_PAGE)] or [[]]
    pages = [_Page(out, number, len(parts), part) for number, part in enumerate(parts, start=1)]
    for page in pages:
        head = [_figures(records, summary), *_lists(records)] if page.number == 1 else []
        write_whole(page.path, page.html(head, summary).encode("utf-8"))
    number = len(pages) + 1
    while (extra := out / _page_name(number)).is_file():  # of a run with more pictures
        remove(extra)
        number += 1
    return [page.path for page in pages]


def kinds_of(record: Record) -> list[str]:
    """Why a person should look at a picture: words of `KINDS`."""
    return ["error"] if record.error else [word for word in record.reasons if word in KINDS]


def _page_name(number: int) -> str:
    return PAGE.format("" if number == 1 else f"-{number}")


@dataclass(frozen=True)
class _Page:
    out: Path
    number: int
    count: int
    records: Sequence[Record]

    @property
    def path(self) -> Path:
        return self.out / _page_name(self.number)

    def html(self, head: Sequence[Html], summary: Summary) -> str:
        title = f"Annotations, {self.number} of {self.count}" if self.count > 1 else "Annotations"
        body = element(
            "main",
            element("h1", title),
            element("p", f"{summary.model}: {MODES[summary.settings.mode]}.", class_="note"),
            *head,
            self._steps(),
            element(
                "section",
                element("h2", "Pictures"),
                *self._buttons(),
                element("div", *map(self._card, self.records), class_="pictures"),
            ),
            self._steps(),
        )
        style = files("sam2_video.annotation").joinpath("style.css").read_text(encoding="utf-8")
        page = element(
            "html",
            element(
                "head",
                element("meta", charset="utf-8"),
                element("meta", http_equiv="Content-Security-Policy", content=POLICY),
                element("meta", name="viewport", content="width=device-width, initial-scale=1"),
                element("title", title),
                element("style", Html(style + _filters())),
            ),
            element("body", body),
            lang="en",
        )
        return f"<!doctype html>\n{page}\n"

    def _steps(self) -> Html | None:
        """Links to the pages around this one, the first and the last."""
        if self.count == 1:
            return None
        near = range(max(1, self.number - NEAR), min(self.count, self.number + NEAR) + 1)
        links = [
            element("b", n) if n == self.number else element("a", n, href=_page_name(n))
            for n in sorted({1, *near, self.count})
        ]
        return element("nav", "Pages ", *((link, " ") for link in links), class_="pages")

    def _buttons(self) -> Iterator[Html]:
        """Radio buttons: one for all pictures, and one for each reason that there is on this page."""
        counts = Counter(word for record in self.records for word in kinds_of(record))
        yield _button("all", f"all ({len(self.records)})", is_on=True)
        for word, text in KINDS.items():
            if counts[word]:
                yield _button(_class(word), f"{text} ({counts[word]})")
        fine = sum(not kinds_of(record) for record in self.records)
        if fine and fine < len(self.records):
            yield _button("fine", f"nothing to look at ({fine})")

    def _card(self, record: Record) -> Html:
        kinds = kinds_of(record)
        classes = " ".join(map(_class, kinds)) or "fine"
        return element(
            "article",
            self._picture(record),
            element("h3", record.file_name),
            element("p", ", ".join(KINDS[word] for word in kinds), class_="bad") if kinds else None,
            _counts(record),
            _remarks(record),
            id=f"p{record.image_id}",
            class_=f"picture {classes}",
        )

    def _picture(self, record: Record) -> Html:
        if "thumbnails" in record.files and not record.error:
            path = picture_file(self.out, "thumbnails", record.name)
            try:
                data = base64.b64encode(path.read_bytes()).decode("ascii")
            except OSError:
                data = ""
            if data:
                said = f"{record.file_name} with its masks"
                if "undecided" in record.files:
                    said += "; below, those to decide on"
                return element("img", src=f"data:image/jpeg;base64,{data}", alt=said, loading="lazy")
        return element("div", "no picture", class_="nothing")


def _button(name: str, text: str, *, is_on: bool = False) -> Html:
    checked = " checked" if is_on else ""
    # `name` is one of our own words: see `_class`.
    return element("label", Html(f'<input type="radio" name="show" id="show-{name}"{checked}>'), text)


def _class(word: str) -> str:
    return word.replace(" ", "-").replace("_", "-")


def _filters() -> str:
    """The rules by which a button hides the pictures of other reasons."""
    return "".join(
        f"body:has(#show-{name}:checked) .picture:not(.{name}) {{ display: none; }}\n"
        for name in (*map(_class, KINDS), "fine")
    )


def _figures(records: Sequence[Record], summary: Summary) -> Html:
    done = [record for record in records if not record.error]
    clips = sum(record.is_clip for record in done)
    total: Counter[str] = Counter()
    for record in done:
        total.update(record.counts)
    rows: list[tuple[str, Child]] = [
        ("pictures", len(done) - clips),
        *([("clips", clips), ("their masklets", total["masklets"])] if clips else []),
        ("could not be annotated", len(records) - len(done)),
        ("candidates", total["candidates"]),
        *((f"left out: {text}", total[word]) for word, text in REASONS.items() if total[word]),
        ("kept", total["kept"]),
        ("for a person to decide on", total["doubted"]),
    ]
    shown = (element("tr", element("th", name), element("td", value, class_="n")) for name, value in rows)
    return element(
        "section",
        element("h2", "What came of it"),
        element("table", element("tbody", *shown)),
        folded("settings", element("pre", _settings(summary))),
    )


def _settings(summary: Summary) -> str:
    values = {**summary.settings.record(), "model": summary.model}
    if summary.settings.mode == "assisted":
        values["classes"] = ", ".join(summary.categories)
    return "\n".join(f"{name}: {value}" for name, value in values.items())


def _lists(records: Sequence[Record]) -> Iterator[Html]:
    """The pictures of each reason, folded, with links to where they are shown."""
    places: dict[str, list[tuple[str, Record]]] = {word: [] for word in KINDS}
    for place, record in enumerate(records):
        link = f"{_page_name(1 + place // PER_PAGE)}#p{record.image_id}"
        for word in kinds_of(record):
            places[word].append((link, record))
    lists = [
        folded(
            f"{KINDS[word]} ({len(found)})",
            element(
                "p",
                *((element("a", record.file_name, href=link), " ") for link, record in found[:LISTED]),
                f"and {len(found) - LISTED} more" if len(found) > LISTED else None,
                class_="names",
            ),
        )
        for word, found in places.items()
        if found
    ]
    if lists:
        yield element("section", element("h2", "To be looked at"), *lists)


def _counts(record: Record) -> Html | None:
    if record.error or record.size is None:
        return None
    counts = record.counts
    if record.is_clip:
        gone = f", {counts['given up']} given up on the way" if counts.get("given up") else ""
        return element(
            "div",
            element("p", f"{counts.get('masklets', 0)} masklets on {counts.get('frames', 0)} frames{gone}"),
            element("p", f"{record.size[1]} x {record.size[0]} pixels, a clip", class_="note"),
        )
    parts = [f"{counts.get('kept', 0)} kept"]
    if counts.get("doubted"):
        parts.append(f"{counts['doubted']} to decide on (lower picture)")
    dropped = [f"{text}: {counts[word]}" for word, text in REASONS.items() if counts.get(word)]
    return element(
        "div",
        element("p", ", ".join(parts), f" of {counts.get('candidates', 0)}"),
        folded("left out", element("ul", *(element("li", text) for text in dropped))) if dropped else None,
        element("p", f"{record.size[1]} x {record.size[0]} pixels, id {record.image_id}", class_="note"),
    )


def _remarks(record: Record) -> Html | None:
    remarks = [record.error] if record.error else list(record.remarks)
    if not remarks:
        return None
    if len(remarks) > REMARKS:
        remarks = [*remarks[:REMARKS], f"and {len(remarks) - REMARKS} more"]
    return element("ul", *(element("li", text) for text in remarks), class_="remarks")
