"""Further measures by name: columns for the table of scores."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sam2_video.evaluation.datasets import KINDS
from sam2_video.evaluation.measures import (
    MEASURES,
    Measured,
    check_measures,
    last_quarter,
    measure,
    usual_measures,
)
from sam2_video.evaluation.score_tables import write_scores
from sam2_video.evaluation.scores import MetricOptions, PredictionReader, score_objects, summarise
from sam2_video.evaluation.sequences import DataSet, VosSequence
from sam2_video.types import ConfigError, DataError
from tests.evaluation.test_scores import toy


def read(sequence: VosSequence) -> PredictionReader:
    """The truth, but nothing of object 2 from frame 3 on, and no prediction of frame 5 at all."""

    def masks(frame: int):  # type: ignore[no-untyped-def]
        truth = {} if frame == 5 else sequence.masks(frame)
        return {k: mask for k, mask in truth.items() if k == 1 or frame < 3}

    return masks


def measured() -> Measured:
    clip = toy()
    return Measured((clip,), read, summarise(score_objects(clip, read(clip))))


def test_the_last_quarter_is_that_of_vost() -> None:
    # Of n frames those from floor(0.75 n) on: that many, no fewer and no more.
    for count, kept in ((1, 1), (2, 1), (3, 1), (4, 1), (5, 2), (6, 2), (8, 2), (9, 3)):
        curve = [0.0] * (count - kept) + [1.0] * kept
        assert last_quarter(curve) == 1 and last_quarter([0.0, *curve[:-1]]) < 1


def test_vost_reports_the_end_of_each_object() -> None:
    (extra,) = measure(["vost"], measured())
    assert extra.objects == {("toy", 1): {"vost_j_tr": 1.0}, ("toy", 2): {"vost_j_tr": 0.0}}
    assert extra.overall == extra.sequences["toy"] == {"vost_j_tr": 0.5}
    assert extra.groups == {"seen": {"vost_j_tr": 1.0}, "unseen": {"vost_j_tr": 0.0}}


def test_measures_become_columns_of_the_table(tmp_path: Path) -> None:
    given = measured()
    extras = measure(["vost", "mose", "vost"], given)
    assert [extra.title for extra in extras] == ["VOST", "MOSE v2"]
    data = DataSet("toys", "all", "toys", tuple(given.sequences))
    lines = write_scores(tmp_path / "scores.csv", given.summary, data, extras).read_text().splitlines()
    rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    by_level = {(row["level"], row["object"]): row for row in rows}
    assert by_level["all", ""]["vost_j_tr"] == "50.0000"
    assert float(by_level["object", "1"]["mose_jf_dot"]) == 100
    assert by_level["object", "2"]["mose_jf_r"] == ""  # it was never gone
    assert float(by_level["object", "1"]["mose_jf_d"]) == 100


def test_incomplete_predictions_are_measured_only_where_asked_for() -> None:
    clip = toy()

    def nothing(sequence: VosSequence) -> PredictionReader:
        return lambda frame: None

    summary = summarise(score_objects(clip, nothing(clip), MetricOptions(allow_incomplete=True)))
    with pytest.raises(DataError, match="no prediction of the frames"):
        measure(["mose"], Measured((clip,), nothing, summary))
    assert measure(["mose"], Measured((clip,), nothing, summary, allow_incomplete=True))


def test_names_are_known_or_refused() -> None:
    with pytest.raises(DataError, match="no measure hta; there are hota, mose, vost"):
        measure(["hta", "mose"], measured())
    assert check_measures(["vost", "mose", "vost"]) == ("vost", "mose")
    assert usual_measures("mose2") == ("mose",) and usual_measures("davis2017") == ()
    assert {name for kind in KINDS for name in usual_measures(kind)} <= set(MEASURES)
    assert all(usual_measures(kind) for kind in ("mose2", "vost")) and {"mose2", "vost"} <= set(KINDS)


def test_association_is_measured_by_the_library() -> None:
    pytest.importorskip("trackeval", reason="needs pip install --no-deps trackeval scipy")
    (extra,) = measure(["hota"], measured())
    # Counted masks: object 1 on frames 1 and 2, object 2 on 2, 3 and 5, of which 2 is predicted.
    assert extra.overall["deta"] == pytest.approx(3 / 5) and extra.overall["assa"] == pytest.approx(
        (2 * 1 + 1 / 3) / 3
    )


def test_a_library_that_is_missing_is_said_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "trackeval.metrics", None)
    with pytest.raises(ConfigError, match="pip install --no-deps trackeval"):
        check_measures(["mose", "hota"])
    assert check_measures(["mose"]) == ("mose",)
