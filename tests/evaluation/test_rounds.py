"""The mean over interactions, the figure that papers give for protocols that correct."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sam2_video.evaluation.overview import overview_row, summary_lines
from sam2_video.evaluation.results import Round, SequenceRun
from sam2_video.evaluation.rounds import comparable_rounds, mean_of_rounds, write_rounds
from tests.evaluation.toys import clip, data_set, evaluation, scored

ON, OFF = (1, 1, 1), (2, 2, 0)
# Object 1 of two sequences: 0.5 then 0.7 in J, 0.7 then 0.9 in F; and 0.9, 1.0, which needs no more.
RUNS = (
    SequenceRun("walk", 1, 1.0, rounds=(Round(1, 1, 0, (ON,), 0.5, 0.7), Round(1, 2, 4, (OFF,), 0.7, 0.9))),
    SequenceRun("bear", 1, 1.0, rounds=(Round(1, 1, 0, (ON, OFF), 0.9, 1.0),)),
)


def test_each_number_of_interactions_counts_once() -> None:
    mean = mean_of_rounds(comparable_rounds(RUNS))
    assert (mean.j, mean.f) == pytest.approx(((0.7 + 0.8) / 2, (0.85 + 0.95) / 2))
    with pytest.raises(ValueError, match="no interactions"):
        mean_of_rounds([])


def test_the_table_has_a_row_for_each_and_their_mean(tmp_path: Path) -> None:
    path = write_rounds(tmp_path / "new/rounds.csv", comparable_rounds(RUNS))
    assert path.read_text().splitlines() == [
        "interactions,objects,clicks,jandf,j,f",
        "1,2,3,77.5000,70.0000,85.0000",
        "2,1,1,87.5000,80.0000,95.0000",
        "mean,,4,82.5000,75.0000,90.0000",
    ]


def test_it_stands_beside_the_figures_of_the_last_masks() -> None:
    data = data_set(clip("walk"), clip("bear"))
    whole = replace(evaluation(data, summary=scored(data)), runs=RUNS)
    assert overview_row("online", whole)["jandf_rounds"] == pytest.approx(82.5)
    line = "mean over 1 to 2 interactions: J&F 82.50  J 75.00  F 90.00"
    assert line in list(summary_lines(whole, ""))
    once = replace(whole, runs=tuple(replace(run, rounds=()) for run in RUNS))
    failed = replace(whole, runs=(RUNS[0], SequenceRun("bear", 0, 0.0, error="lost")))
    for other in (once, failed):  # one has nothing to say, and the other would leave a sequence out
        assert "jandf_rounds" not in overview_row("online", other)
        assert not any("interactions" in text for text in summary_lines(other, ""))
