"""report.html: the figures are those that were scored, failures alarm, and names from outside do no harm."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sam2_video.evaluation.extras import Column, Extra
from sam2_video.evaluation.report import PictureOptions, ReportOptions, write_report
from sam2_video.evaluation.report.html import element
from sam2_video.evaluation.report.overlays import EXTRA, FOUND, MISSED, Overlays, chosen_frames
from sam2_video.evaluation.report.plots import Axes, thinned
from sam2_video.evaluation.results import Evaluation, Round, SequenceRun
from sam2_video.evaluation.rounds import round_means
from sam2_video.evaluation.scores import MetricOptions, ObjectScore, score_objects, summarise
from sam2_video.evaluation.sequences import DataSet
from sam2_video.types import DataError, SinkError
from tests.evaluation.toys import EVIL, clip, data_set, drifting, evaluation, scored, without


class Page(HTMLParser):
    """Tags with their attributes, and the text in each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data + "|"

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page(
    path: Path, result: Evaluation, data: DataSet, options: ReportOptions | None = None, **read: Any
) -> Page:
    reader = read.get("read", drifting)
    return Page(write_report(path / "report.html", result, data, reader, options).read_text(encoding="utf-8"))


def pictures(found: Page) -> Iterator[tuple[str, Any]]:
    for image in found.of("img"):
        data = base64.b64decode(str(image["src"]).removeprefix("data:image/jpeg;base64,"))
        yield str(image["alt"]), cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_the_figures_are_there(tmp_path: Path) -> None:
    data = data_set(clip("walk", (1, 2)), clip("bear"))
    summary = scored(data)
    found = page(tmp_path, evaluation(data, summary=summary), data)
    j, f = summary.overall.j, summary.overall.f
    for share in (summary.overall.jandf, j.mean, j.recall, j.decay, f.mean, f.recall, f.decay):
        assert f"{100 * share:.1f}" in found.text
    assert "3 objects, 2 sequences|" in found.text and "18 scored, 2 not|" in found.text
    assert (
        "nano on toy val" in found.text and "f00df00df00d, cpu|" in found.text
    )  # which model, which weights
    assert "20 frames in 1.0 s|" in found.text and "0.29 GiB|" in found.text
    assert "decode|20|0.20|8.00|12.00|20.0|100.00|" in found.text  # calls, s, p50, p95, share, frames/s
    assert not {"alarm", "warning"} & {word for _, a in found.tags for word in str(a.get("class")).split()}


def test_the_worst_come_first(tmp_path: Path) -> None:
    data = data_set(clip("fine", (1,)), clip("bad", (4,)), clip("middling", (2,)))
    found = page(tmp_path, evaluation(data, summary=scored(data)), data)
    names = re.findall(r"\|(fine|bad|middling)\|", found.text)
    assert names[:3] == ["bad", "middling", "fine"]  # strips
    sequences = found.text[found.text.index("|Sequences|") :]
    assert re.findall(r"\|(fine|bad|middling)\|", sequences)[:3] == ["bad", "middling", "fine"]


def test_names_from_outside_do_no_harm(tmp_path: Path) -> None:
    quote = "\"onload='x'&amp;\u202e\x00\ud800"
    data = replace(data_set(clip(EVIL, (1, 3)), clip(quote), clip("caf\u00e9")), rule=EVIL, root=EVIL)
    failed = SequenceRun("caf\u00e9", 0, 0.1, error=f"Traceback\n{EVIL}")
    summary = summarise(
        replace(s, category=EVIL, group=EVIL)
        for one in data.sequences[:2]
        for s in score_objects(one, drifting(one))
    )
    rounds = (Round(1, 1, 0, ((3, 4, 1),), 0.5, 0.5),)
    result = evaluation(data, failed, summary=summary)
    result = replace(result, runs=tuple(replace(run, rounds=rounds) for run in result.runs))
    result = replace(result, extras=(Extra(EVIL, (Column(EVIL, EVIL),), {EVIL: 0.5}),))
    found = page(tmp_path, result, data)
    assert found.text.count(EVIL) > 10
    assert not {"script", "iframe", "link", "object"} & {tag for tag, _ in found.tags}
    for tag, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href"):
            assert str(attributes.get(name, "#")).startswith(("#", "data:image/jpeg;base64,"))
    policy = found.of("meta")[1]
    assert policy["http-equiv"] == "Content-Security-Policy" and "default-src 'none'" in str(
        policy["content"]
    )


def test_a_run_where_some_failed_alarms(tmp_path: Path) -> None:
    data = data_set(clip("walk"), clip("bear"), clip("never"))
    summary = summarise(score_objects(data.sequences[0], drifting(data.sequences[0])))
    failed = SequenceRun(
        "bear", 3, 0.1, error="Traceback (most recent call last):\n  ...\nDataError: no such mask"
    )
    result = evaluation(data, failed, summary=summary)
    result = replace(result, runs=tuple(run for run in result.runs if run.name != "never"))
    found = page(tmp_path, result, data)
    alarms = [a for a in found.of("section") if "alarm" in str(a.get("class")).split()]
    assert len(alarms) == 2 and all(a["role"] == "alert" for a in alarms)
    assert found.text.lstrip("\n|").startswith("1 of 3 sequences FAILED")
    assert found.text.index("1 sequence of 3 failed") < found.text.index(
        "nano on toy val|J&F|"
    )  # before any figure
    assert "bear|: |DataError: no such mask|" in found.text
    assert "1 sequence of 3 not there|" in found.text and "never|" in found.text
    assert "only 1 of 3 sequences" in found.text


def test_failures_that_count_as_empty_and_those_of_scoring_are_told_apart(tmp_path: Path) -> None:
    data = data_set(clip("walk"), clip("bear"), clip("cut"))
    options = MetricOptions(allow_incomplete=True)
    reads = {"walk": drifting(data.sequences[0]), "bear": lambda frame: None}
    summary = summarise(s for one in data.sequences[:2] for s in score_objects(one, reads[one.name], options))
    result = evaluation(data, SequenceRun("bear", 0, 0.1, error="killed"), summary=summary)
    result = replace(result, manifest={"failed": {"bear": "killed", "cut": "its mask is 4x4"}})
    found = page(tmp_path, result, data, read=lambda one: reads[one.name])
    assert (
        "2 sequences of 3 failed|What 1 of them did not predict counts as empty in all figures." in found.text
    )
    assert (
        "1 of them are in no figure on this page" in found.text and "|cut|: |its mask is 4x4|" in found.text
    )
    assert "without a score" not in found.text and "not there" not in found.text
    rows = [a for a in found.of("tr") if a.get("class") == "alarming"]
    assert len(rows) == 1 and "|cut| failed|" in found.text

    manifest = {"failed": {"walk": "<i>"}, "not_scored": "there are no predictions of walk"}
    found = page(
        tmp_path, Evaluation(manifest, (), None), data_set(clip("walk"))
    )  # predictions of somebody else
    assert "Why: there are no predictions of walk.|" in found.text and "|walk|: |<i>|" in found.text


def test_nothing_scored_is_an_alarm_and_withheld_truth_is_not(tmp_path: Path) -> None:
    data = data_set(clip("walk"))
    failed = SequenceRun("walk", 0, 0.0, error="out of memory")
    found = page(tmp_path, evaluation(data, failed, summary=None), data)
    assert "Nothing was scored|" in found.text and "out of memory|" in found.text

    data = data_set(clip("walk"), withheld="the truth is kept by a server: https://example.org")
    found = page(tmp_path, evaluation(data, summary=None), data)
    assert "Not scored here|" in found.text and "https://example.org.|" in found.text
    assert "Nothing was scored" not in found.text and not found.of("img")
    assert "10 frames in 0.5 s|" in found.text and "|walk|20.0|0.5|" in found.text  # what was run, how fast


def test_missing_predictions_are_said_and_marked(tmp_path: Path) -> None:
    data = data_set(clip("walk"), clip("bear"))
    options = MetricOptions(allow_incomplete=True)
    gaps = {"walk": without(drifting(data.sequences[0]), 4, 5), "bear": drifting(data.sequences[1])}
    summary = summarise(s for one in data.sequences for s in score_objects(one, gaps[one.name], options))
    found = page(tmp_path, evaluation(data, summary=summary), data, read=lambda one: gaps[one.name])
    assert "2 masks without a prediction|" in found.text and "walk| (2)|" in found.text
    crosses = [a["d"] for a in found.of("path") if a.get("class") == "missing"]
    assert (
        len(crosses) == 2 and str(crosses[0]).count("M") == 2
    )  # on the plot of one sequence, and its legend
    assert "no prediction|" in found.text[found.text.index("|Worst objects|") :]


def test_sequences_of_which_no_frame_counts_are_named(tmp_path: Path) -> None:
    data = data_set(clip("walk"), clip("still"))
    summary = summarise(score_objects(data.sequences[0], drifting(data.sequences[0])))
    found = page(tmp_path, evaluation(data, summary=summary), data)
    assert "1 sequence without a score|" in found.text and "|still|" in found.text
    assert "alarm" not in " ".join(str(a.get("class")) for _, a in found.tags)


def test_sequences_that_were_cut_short_are_said_to_be(tmp_path: Path) -> None:
    data = data_set(clip("walk"))
    result = evaluation(data, summary=scored(data))
    assert "Only the first" not in page(tmp_path, result, data).text
    result = replace(result, manifest={"protocol": {"name": "box", "max_frames": 6}, "failed": {}})
    found = page(tmp_path, result, data)
    assert "Only the first 6 frames of each sequence|" in found.text and "|failed|" not in found.text
    result = replace(result, manifest={"command": "score", "max_frames": 5})
    assert "Only the first 5 frames of each sequence|" in page(tmp_path, result, data).text


def test_memory_of_a_gpu_is_told_beside_that_of_the_process(tmp_path: Path) -> None:
    data = data_set(clip("walk"))
    result = evaluation(data, summary=scored(data))
    assert "GPU memory" not in page(tmp_path, result, data).text
    runs = tuple(replace(run, peak_gpu_mib=2560.0) for run in result.runs)
    text = page(tmp_path, replace(result, runs=runs), data).text
    assert "Peak of GPU memory of a process: 2\N{NARROW NO-BREAK SPACE}560 MiB." in text
    assert "|2.50 GiB|" in text and "GPU, highest of any process" in text


def test_a_part_of_a_data_set_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    data = data_set(clip("walk"), clip("still"))
    result = evaluation(data, summary=scored(data))
    assert "chosen" not in page(tmp_path, result, data).text
    assert "Only 2 sequences, chosen by name|" in page(tmp_path, result, replace(data, is_part=True)).text


def test_scores_without_a_run_and_without_boundaries(tmp_path: Path) -> None:
    data = data_set(clip("walk", (1, 2)))
    found = page(tmp_path, Evaluation({}, (), scored(data, boundary=False)), data)
    assert "nan" not in found.text.lower() and "J&F" not in found.text and "|F|" not in found.text
    assert "J over time|" in found.text and "not there" not in found.text
    assert "Speed" not in found.text


def test_groups_g_and_further_measures(tmp_path: Path) -> None:
    data = data_set(clip("walk", (1,), "seen"), clip("bear", (3,), "unseen"))
    summary = scored(data)
    hota = Extra(
        "association", (Column("hota", "HOTA"),), {"hota": 0.4321}, sequences={"bear": {"hota": 0.1234}}
    )
    found = page(tmp_path, replace(evaluation(data, summary=summary), extras=(hota,)), data)
    assert summary.g is not None and f"G|{100 * summary.g:.1f}|mean of seen and unseen|" in found.text
    assert re.search(r"\|seen\|.*\|unseen\|.*\|G\|", found.text)
    assert "|HOTA|" in found.text and "43.2|" in found.text and "12.3|" in found.text


def test_interactions_are_averaged_and_those_that_ended_keep_their_score() -> None:
    first = SequenceRun(
        "a", 1, 1.0, rounds=(Round(1, 1, 0, ((1, 1, 1),), 0.5, 0.7), Round(1, 2, 4, ((1, 1, 0),), 0.7, 0.9))
    )
    other = SequenceRun("b", 1, 1.0, rounds=(Round(1, 1, 0, ((1, 1, 1), (2, 2, 0)), 0.9, 1.0),))
    one, two = round_means((first, other))
    assert (one.number, one.objects, one.clicks, one.j, one.f) == (
        1,
        2,
        3,
        pytest.approx(0.7),
        pytest.approx(0.85),
    )
    assert (two.number, two.objects, two.clicks, two.j, two.f) == (
        2,
        1,
        1,
        pytest.approx(0.8),
        pytest.approx(0.95),
    )
    assert round_means((SequenceRun("a", 1, 1.0),)) == []
    repeated = replace(other, rounds=(*other.rounds, Round(1, 2, 0, (), 0.9, 1.0)))
    assert round_means((first, repeated)) == [one, two]  # listed without clicks, it is the same


def test_interactions_are_shown(tmp_path: Path) -> None:
    data = data_set(clip("walk"))
    rounds = (Round(1, 1, 0, ((7, 9, 1),), 0.4, 0.6), Round(1, 2, 3, ((8, 2, 0),), 0.8, 0.8))
    result = evaluation(data, summary=scored(data))
    found = page(tmp_path, replace(result, runs=(replace(result.runs[0], rounds=rounds),)), data)
    assert "|J&F by the number of interactions|1: 50.0, 2: 80.0|" in found.text
    assert "|walk|1|2|00003|\N{MINUS SIGN}8,2|80.0|" in found.text and "|+7,9|" in found.text
    assert len([a for a in found.of("circle") if "dot" in str(a["class"])]) == 2


def test_pictures_show_what_was_found_missed_and_too_much(tmp_path: Path) -> None:
    data = data_set(clip("walk", (2,)))
    found = page(tmp_path, evaluation(data, summary=scored(data)), data)
    shown = dict(pictures(found))
    assert next(iter(shown)) == "walk, object 2, frame 00000: not scored" and len(shown) == 4
    worst = next(picture for said, picture in shown.items() if "frame 00009" in said)

    def most_like(colour: tuple[int, int, int]) -> int:
        """How many pixels have a hue near that of a colour."""
        hues = cv2.cvtColor(np.ascontiguousarray(worst), cv2.COLOR_RGB2HSV).astype(int)
        hue = int(cv2.cvtColor(np.uint8([[colour]]), cv2.COLOR_RGB2HSV)[0, 0, 0])
        return int(((abs(hues[..., 0] - hue) < 8) & (hues[..., 1] > 90)).sum())

    scale = (
        worst.shape[0] / 60
    ) ** 2  # the square of 12 slid off by 9: 3 columns found, 9 missed, 9 too much
    assert most_like(FOUND) > 0.4 * 36 * scale
    assert min(most_like(EXTRA), most_like(MISSED)) > 0.4 * 108 * scale


def test_frames_are_chosen_for_a_reason() -> None:
    one = clip("walk", frames=12)
    score = ObjectScore(
        "walk", 1, tuple(range(1, 12)), (0.9,) * 4 + (0.4,) * 3 + (0.1, 0.3, 0.3, 0.3), (0.5,) * 11
    )
    assert chosen_frames(one, score, 4) == {0: "first", 5: "first below 50", 8: "worst", 11: "last"}
    assert list(chosen_frames(one, score, 2)) == [0, 8]
    assert len(chosen_frames(one, score, 6)) == 6
    short = ObjectScore("walk", 1, (1,), (0.2,), (0.2,))
    assert chosen_frames(one, short, 4) == {0: "first", 1: "worst"}


def test_a_frame_that_cannot_be_read_leaves_the_rest_of_the_page(tmp_path: Path) -> None:
    broken = replace(clip("walk", (3,)), unreadable=frozenset(range(10)))
    data = data_set(broken, clip("bear"))
    found = page(tmp_path, evaluation(data, summary=scored(data)), data)
    assert "No pictures: cannot read frame 0 of <b>walk</b>|" in found.text
    assert {said.split(",")[0] for said, _ in pictures(found)} == {"bear"}


def test_the_room_for_pictures_is_bounded(tmp_path: Path) -> None:
    data = data_set(*(clip(f"s{k}", (1, 2)) for k in range(4)))
    options = ReportOptions(pictures=PictureOptions(objects=3, frames=2, side=96))
    found = page(tmp_path, evaluation(data, summary=scored(data)), data, options)
    assert [picture.shape for _, picture in pictures(found)] == [(60, 96, 3)] * 6
    overlays = Overlays(data, drifting, PictureOptions(total=5000))
    strips = list(overlays.strips(scored(data).objects))
    assert 0 < overlays.used <= 5000 and sum(len(found) for _, found in strips) < 8


def test_an_oracle_has_no_worst_objects(tmp_path: Path) -> None:
    data = data_set(clip("walk"))
    summary = summarise(score_objects(data.sequences[0], data.sequences[0].masks))
    found = page(tmp_path, evaluation(data, summary=summary), data)
    assert "Worst objects" not in found.text and "J&F 100.0" in found.text


def test_curves_keep_their_extremes_and_stay_small() -> None:
    curve = {float(k): 0.5 for k in range(10_000)} | {777.0: 0.0, 8888.0: 1.0}
    points = thinned(curve, 40)
    assert len(points) <= 40 and (777.0, 0.0) in points and (8888.0, 1.0) in points
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert thinned({0.0: 0.1, 1.0: 0.2}, 40) == [(0.0, 0.1), (1.0, 0.2)]


def test_a_large_data_set_makes_a_page_of_bounded_size(tmp_path: Path) -> None:
    data = data_set(*(clip(f"sequence {k}", (1, 2, 3), frames=200) for k in range(60)))
    values = tuple(0.5 + 0.5 * np.sin(np.arange(199)))
    summary = summarise(
        ObjectScore(one.name, k, tuple(range(1, 200)), values, values, missing=tuple(range(50, 200)))
        for one in data.sequences
        for k in (1, 2, 3)
    )
    options = ReportOptions(rows=20, plots=30, points=3000)
    path = write_report(tmp_path / "report.html", evaluation(data, summary=summary), data, drifting, options)
    found = Page(path.read_text())
    assert path.stat().st_size < 600_000
    assert len([a for a in found.of("svg") if a.get("class") == "plot"]) == 30
    assert len(found.of("tr")) < 2 * 21 + 20  # two long tables, and short ones
    assert "160 more rows are left out here" in found.text
    assert "30 better sequences have no plot" in found.text


@pytest.mark.parametrize(
    ("first", "last", "ticks"),
    [(0, 1, [0, 1]), (0, 9, [0, 2, 4, 6, 8]), (0, 12345, list(range(0, 12345, 2000)))],
)
def test_ticks_are_round_numbers(first: int, last: int, ticks: list[int]) -> None:
    assert Axes("", "", "", "", first, last).ticks() == ticks


def test_elements_escape_what_is_no_markup() -> None:
    inner = element("b", "<&\"'>")
    assert element("td", inner, None, 3, ["<", "x"], class_='"', hidden=True, title=None) == (
        '<td class="&quot;" hidden><b>&lt;&amp;&quot;&#x27;&gt;</b>3&lt;x</td>'
    )
    with pytest.raises(ValueError, match="no name of an element"):
        element("b onload=x")


def test_the_same_evaluation_makes_the_same_bytes_and_what_fails_leaves_the_old_page(tmp_path: Path) -> None:
    data = data_set(clip("walk", (1, 2)))
    result = evaluation(data, summary=scored(data))
    path = write_report(tmp_path / "new" / "report.html", result, data, drifting)
    before = path.read_bytes()
    assert write_report(path, result, data, drifting).read_bytes() == before
    with pytest.raises(DataError, match="scores of walk"):
        write_report(path, result, data_set(clip("bear")), drifting)
    assert path.read_bytes() == before and not list(path.parent.glob(".*"))
    with pytest.raises(SinkError, match="cannot write"):
        write_report(path / "report.html", result, data, drifting)
