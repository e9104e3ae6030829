"""Scoring masks that somebody else predicted: finding them in a folder, and saying what does not fit.

PRED/SEQ/FRAME.png, PRED/SEQ/OBJECT/FRAME.png (as SA-V), or either of them some folders further down; for one
sequence also PRED/FRAME.png.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sam2_video.evaluation.finish import REPORT, TABLES, Finished, ScoreOptions, Scorer, finish
from sam2_video.evaluation.locks import run_lock
from sam2_video.evaluation.manifest import VERSION, check_free, data_facts, now, read_manifest, surroundings
from sam2_video.evaluation.plan import shorten
from sam2_video.evaluation.predictions import SequencePredictions
from sam2_video.evaluation.results import SequenceRun
from sam2_video.evaluation.sequences import DataSet, VosSequence
from sam2_video.evaluation.workers import OneProcess, Progress, Workers
from sam2_video.types import DataError, SinkError

DEPTH = 3  # of folders that are searched: results/Annotations/480p/SEQ
SHOWN = 5  # names that a message quotes
ONE_OBJECT = {"davis2016"}  # data sets in which whatever is not 0 is the object


@dataclass(frozen=True)
class Found:
    """Where predictions are, and what does not fit. `flat`: the folder is that of the only sequence."""

    folder: Path
    flat: bool
    layout: str
    notes: tuple[str, ...]


def find_predictions(root: Path, data: DataSet) -> Found:
    """Find the folder that holds predictions of most sequences. Raises DataError where there are none."""
    if not root.is_dir():
        hint = "; unpack the zip first" if root.suffix == ".zip" else ""
        raise DataError(f"{root} is not a folder of predictions{hint}")
    names = {sequence.name for sequence in data.sequences}
    best = max(_folders(root), key=lambda folder: len(names & _inside(folder)))
    if names & _inside(best):
        readers = [SequencePredictions(best / s.name, s) for s in data.sequences if (best / s.name).is_dir()]
        unknown = sorted(_inside(best) - names)
        notes = [f"{_some(unknown)} in {best}: no sequence of {data.name} is called so"] if unknown else []
        return Found(best, False, _layout(readers), (*notes, *_notes(best, readers, data)))
    if len(data.sequences) == 1:
        return _find_flat(root, data.sequences[0])
    raise DataError(
        f"no predictions of {data.name} in {root}: expected SEQ/FRAME.png, or SEQ/OBJECT/FRAME.png, with SEQ "
        f"as {_some(sorted(names))}; there are {_some(sorted(_inside(root))) or 'no folders'}"
    )


def score_only(
    data: DataSet,
    predictions: Path,
    out: Path,
    *,
    max_frames: int | None = None,
    options: ScoreOptions | None = None,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> Finished:
    """Score the predictions in a folder, and write tables, report and manifest into `out`.

    `progress` is told what was found, and which names and ids do not fit. Raises DataError where there is
    nothing to be found, SinkError for a folder `out` that holds a run.
    """
    progress = progress or Progress()
    data = shorten(data, max_frames)
    found = find_predictions(predictions, data)
    progress.say(f"found {found.layout} in {found.folder}")
    for note in found.notes:
        progress.say(note)
    scorer = Scorer(
        data, found.folder, options or ScoreOptions(), single=data.name in ONE_OBJECT, flat=found.flat
    )
    manifest = {
        "version": VERSION,
        "command": "score",
        "began": now(),
        "predictions": {"folder": str(found.folder), "layout": found.layout, "notes": list(found.notes)},
        "data": data_facts(data),
        "max_frames": max_frames,
        **surroundings(),
        "identity": {},
    }
    runs = [_as_run(scorer, sequence) for sequence in data.sequences]
    with run_lock(out, None):
        before = read_manifest(out)
        if before is not None and before.get("command") != "score":
            raise SinkError(f"{out} holds a run of its own; choose another --out for these scores")
        if before is None:
            check_free(out, (*TABLES, REPORT))
        if workers is not None:
            finished = finish(out, scorer, runs, manifest, workers, progress)
        else:
            with OneProcess() as alone:
                finished = finish(out, scorer, runs, manifest, alone, progress)
    for line in _strange_ids(finished, data):
        progress.say(line)
    return finished


def _folders(root: Path, depth: int = DEPTH) -> Iterator[Path]:
    """The folder and those in it, from the top down, as deep as predictions may lie."""
    yield root
    if depth:
        for name in sorted(_inside(root)):
            yield from _folders(root / name, depth - 1)


def _inside(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}


def _find_flat(root: Path, sequence: VosSequence) -> Found:
    """The pictures of one sequence, named as its frames."""
    frames = set(sequence.frame_names)
    for folder in _folders(root):
        reader = SequencePredictions(folder, sequence)
        if reader.frames() & frames:
            return Found(folder, True, _layout([reader]), tuple(_unknown_names([reader])))
    raise DataError(
        f"no predictions of {sequence.name} in {root}: expected pictures named as its frames, "
        f"{sequence.frame_names[0]}.png, {sequence.frame_names[-1]}.png"
    )


def _layout(readers: list[SequencePredictions]) -> str:
    by_object = sum(reader.by_object for reader in readers)
    kinds = []
    if by_object < len(readers):
        kinds.append(f"label maps of {_count(len(readers) - by_object)}")
    if by_object:
        kinds.append(f"pictures for each object of {_count(by_object)}")
    return " and ".join(kinds)


def _count(number: int) -> str:
    return f"{number} sequence{'s' if number != 1 else ''}"


def _notes(folder: Path, readers: list[SequencePredictions], data: DataSet) -> Iterator[str]:
    lacking = [s.name for s in data.sequences if not (folder / s.name).is_dir()]
    if lacking:
        yield f"{len(lacking)} of {_count(len(data.sequences))} are missing: {_some(lacking)}"
    yield from _unknown_names(readers)


def _unknown_names(readers: list[SequencePredictions]) -> Iterator[str]:
    """Files that no frame, and folders of objects that no object of the truth has."""
    for reader in readers:
        if reader.by_object and (strangers := _strange_folders(reader)):
            yield f"{reader.sequence.name}: no object of the truth is called {_some(strangers)}"
        unknown = sorted(reader.frames() - set(reader.sequence.frame_names))
        if unknown:
            yield f"{reader.sequence.name}: no frame is called {_some(unknown)}"


def _strange_folders(reader: SequencePredictions) -> list[str]:
    try:
        known = {one.object_id for one in reader.sequence.objects}
    except DataError:  # of the truth: scoring says so, and goes on with the other sequences
        return []
    return [name for name in sorted(_inside(reader.folder)) if not name.isdecimal() or int(name) not in known]


def _strange_ids(finished: Finished, data: DataSet) -> Iterator[str]:
    """What predictions call objects that the truth does not know, and objects that no prediction shows."""
    scored = {one.name: one for one in finished.scored if not one.error}
    for sequence in data.sequences:
        if sequence.name not in scored:
            continue
        known = {one.object_id for one in sequence.objects}
        seen = scored[sequence.name].seen
        if seen - known:
            ids = _some([str(k) for k in sorted(seen - known)])
            yield f"{sequence.name}: ids that are no objects of the truth, and are not scored: {ids}"
        if known - seen:
            ids = _some([str(k) for k in sorted(known - seen)])
            yield f"{sequence.name}: objects that no prediction shows on frames that count: {ids}"


def _as_run(scorer: Scorer, sequence: VosSequence) -> SequenceRun:
    """What is known of the predictions of a sequence: how many frames they have."""
    frames = scorer.read(sequence).frames() & set(sequence.frame_names)
    return SequenceRun(sequence.name, len(frames), 0.0)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
