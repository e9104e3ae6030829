"""scores.csv and frames.csv: what pandas reads is what was scored, whatever sequences are called."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from sam2_video.evaluation.extras import Column, Extra
from sam2_video.evaluation.score_tables import number, percent, text_cell, write_frames, write_scores
from sam2_video.evaluation.scores import ObjectScore, score_objects, summarise
from sam2_video.types import DataError, SinkError
from tests.evaluation.toys import clip, data_set, drifting, scored

NASTY = ['a,b "c"', "two\nlines", "cr\rlf", "=1+1", "-dash", "'quoted", "\ttab", " space ", "ключ 鍵", "NA"]
TEXT = dict.fromkeys(("level", "group", "sequence", "category", "name"), str)


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=TEXT, keep_default_na=False, na_values={"object": "", "f_mean": ""})


def test_rows_come_level_by_level_with_all_figures(tmp_path: Path) -> None:
    data = data_set(clip("walk", (1, 2)), clip("bear"))
    summary = scored(data)
    table = read(write_scores(tmp_path / "scores.csv", summary, data))
    assert list(table.level) == ["all", *["sequence"] * 2, *["object"] * 3]
    assert list(table.sequence) == ["", "walk", "bear", "walk", "walk", "bear"]  # as in the data set
    assert list(table.objects) == [3, 2, 1, 1, 1, 1]
    assert list(table.frames) == [18, 9, 9, 9, 9, 9] and list(table.masks) == [27, 18, 9, 9, 9, 9]
    one = summary.objects[1]
    row = table.iloc[4]
    assert row.object == 2
    expected = (one.j_statistics.mean, one.j_statistics.recall, one.j_statistics.decay)
    assert (row.j_mean / 100, row.j_recall / 100, row.j_decay / 100) == pytest.approx(expected, abs=5e-7)
    assert row.jandf / 100 == pytest.approx(one.mean.jandf, abs=5e-7) and row.j_decay > 0


def test_the_bytes_are_known(tmp_path: Path) -> None:
    scores = [ObjectScore("bear", 1, (1, 2), (1.0, 0.25), (0.5, 0.5), "", "cat", (2,))]
    data = data_set(clip("bear"))
    first = write_scores(tmp_path / "a.csv", summarise(scores), data).read_text()
    figures = "56.2500,62.5000,50.0000,75.0000,50.0000,0.0000,0.0000"
    assert first.splitlines() == [
        "level,group,sequence,object,category,objects,frames,masks,missing,"
        "jandf,j_mean,j_recall,j_decay,f_mean,f_recall,f_decay",
        f"all,,,,,1,2,2,1,{figures}",
        f"sequence,,bear,,,1,2,2,1,{figures}",
        f"object,,bear,1,cat,1,2,2,1,{figures}",
    ]
    frames = write_frames(tmp_path / "frames.csv", summarise(scores), data).read_text()
    assert frames.splitlines() == [
        "sequence,object,frame,name,j,f,missing",
        "bear,1,1,00001,100.0000,50.0000,0",
        "bear,1,2,00002,25.0000,50.0000,1",
    ]
    assert not list(tmp_path.glob(".*"))  # what was written aside is gone


def test_the_order_is_that_of_the_data_set(tmp_path: Path) -> None:
    data = data_set(clip("b", (2, 5)), clip("a"))
    scores = [s for one in reversed(data.sequences) for s in reversed(score_objects(one, drifting(one)))]
    straight = write_scores(tmp_path / "a.csv", scored(data), data).read_bytes()
    assert write_scores(tmp_path / "b.csv", summarise(scores), data).read_bytes() == straight


def test_groups_and_g(tmp_path: Path) -> None:
    data = data_set(clip("walk", (1,), "unseen"), clip("bear", (3, 4), "seen"))
    summary = scored(data)
    table = read(write_scores(tmp_path / "scores.csv", summary, data))
    groups = table[table.level == "group"].set_index("group")
    assert list(groups.index) == ["seen", "unseen", "G"]
    assert summary.g is not None and groups.jandf["G"] / 100 == pytest.approx(summary.g, abs=5e-7)
    mean = (groups.j_mean["seen"] + groups.j_mean["unseen"]) / 2
    assert groups.j_mean["G"] == pytest.approx(mean, abs=1e-4)
    assert list(groups.objects) == [2, 1, 3]
    assert groups.jandf["G"] != pytest.approx(table.jandf[0], abs=0.1)  # groups count, not objects


@pytest.mark.parametrize("name", NASTY)
def test_names_come_back_and_are_no_formulas(name: str, tmp_path: Path) -> None:
    data = data_set(clip(name))
    summary = scored(data)
    for path in (
        write_scores(tmp_path / "scores.csv", summary, data),
        write_frames(tmp_path / "frames.csv", summary, data),
    ):
        found = read(path).sequence.iloc[-1]
        assert found[0] not in "=+-@\t\r\n"
        assert found.removeprefix("'") == name


def test_bytes_that_are_no_text_are_written_all_the_same(tmp_path: Path) -> None:
    data = data_set(clip("caf\udce9"))
    assert "caf\\udce9" in write_scores(tmp_path / "scores.csv", scored(data), data).read_text()


def test_cells() -> None:
    assert text_cell("plain-name") == "plain-name"
    assert text_cell("@sum") == "'@sum" and text_cell('+"') == '"\'+"""'
    assert percent(-1e-9) == "0.0000" and percent(1.0) == "100.0000" and number(-12.34567) == "-12.3457"
    assert percent(float("nan")) == percent(None) == number(float("inf")) == ""


def test_without_boundaries_f_is_empty(tmp_path: Path) -> None:
    data = data_set(clip("walk"))
    summary = scored(data, boundary=False)
    table = read(write_scores(tmp_path / "scores.csv", summary, data))
    assert table.f_mean.isna().all() and table.j_mean.notna().all()
    assert write_frames(tmp_path / "f.csv", summary, data).read_text().splitlines()[1].endswith(",,0")
    assert ",,," in (tmp_path / "scores.csv").read_text().splitlines()[1]


def test_further_measures_add_columns(tmp_path: Path) -> None:
    hota = Extra(
        "association",
        (Column("hota", "HOTA"), Column("switches", "identity switches", percent=False)),
        overall={"hota": 0.5, "switches": 3},
        sequences={"walk": {"hota": 0.25}},
        objects={("walk", 2): {"switches": 1}},
    )
    data = data_set(clip("walk", (1, 2)))
    summary = scored(data)
    path = write_scores(tmp_path / "scores.csv", summary, data, [hota])
    ends = [line.split(",")[-2:] for line in path.read_text().splitlines()]
    assert ends == [["hota", "switches"], ["50.0000", "3.0000"], ["25.0000", ""], ["", ""], ["", "1.0000"]]
    with pytest.raises(DataError, match="two columns of one name"):
        write_scores(tmp_path / "scores.csv", summary, data, [hota, hota])


def test_scores_of_another_data_set_are_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    data = data_set(clip("walk"))
    path = write_scores(tmp_path / "scores.csv", scored(data), data)
    before = path.read_bytes()
    with pytest.raises(DataError, match="scores of bear, which toy in data/toy does not have"):
        write_scores(path, scored(data_set(clip("bear"))), data)
    assert path.read_bytes() == before and not list(tmp_path.glob(".*"))
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="cannot write"):
        write_scores(tmp_path / "file" / "scores.csv", scored(data), data)
