"""A folder of pictures and clips annotated from beginning to end; the same call goes on where one was ended.

OUT/manifest.json     what was run, and the numbers of pictures and classes
OUT/annotations/...   see `files`; a picture is done when its record is there
OUT/coco.json         all annotations; OUT/review.json: what a person should look at
OUT/review.html       the review pages
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sam2_video.annotation.asked import Ask, Asked, Sources, read_asked
from sam2_video.annotation.clips import ClipJob
from sam2_video.annotation.collect import Outlines, as_it_is, write_coco, write_review_list
from sam2_video.annotation.files import RECORDS, Record, hash_asks, is_done, read_record
from sam2_video.annotation.job import PictureJob
from sam2_video.annotation.numbering import Material, Numbering, not_here, stable_order
from sam2_video.annotation.review_page import Summary, write_pages
from sam2_video.annotation.settings import Settings
from sam2_video.evaluation.locks import run_lock
from sam2_video.evaluation.manifest import (
    differences,
    hash_of,
    model_facts,
    now,
    read_manifest,
    surroundings,
    write_manifest,
)
from sam2_video.evaluation.plan import ModelSetup, device_kind
from sam2_video.evaluation.workers import OneProcess, Progress, Workers
from sam2_video.fingerprint import hash_ends
from sam2_video.mask_options import MaskOptions
from sam2_video.sinks.names import NAMELESS
from sam2_video.sources import open_source
from sam2_video.track_everything import EverythingRules
from sam2_video.types import DataError, PromptError, SinkError, SourceError

COMMAND = "annotate"
HIDDEN = ".run"  # the lock is in it


@dataclass(frozen=True)
class Plan:
    """What is done with every picture, and how results are written. `outlines`: of coco.json."""

    settings: Settings = field(default_factory=Settings)
    model: ModelSetup = field(default_factory=ModelSetup)
    prompts: Sources = field(default_factory=Sources)
    rules: EverythingRules = field(default_factory=EverythingRules)  # of clips
    outlines: Outlines = "rle"
    memory_mb: int | None = None

    def __post_init__(self) -> None:
        if self.settings.mode == "assisted" and not self.prompts.files:
            raise PromptError("the assisted mode needs prompts: a file of boxes or clicks (--prompts)")
        if self.settings.mode != "assisted" and self.prompts.files:
            raise PromptError(f"prompts are for the assisted mode; the mode is {self.settings.mode}")
        MaskOptions().but(**self.settings.masks)  # says what is wrong with them before anything is written

    def identity(self, weights: str) -> dict[str, Any]:
        """What must be the same for pictures to be annotated alike. `weights` is their hash."""
        model = asdict(self.model) | {"overrides": list(self.model.overrides)}
        model |= {"device": device_kind(self.model)}  # cuda:1 computes what cuda:0 does
        del model["checkpoint"]  # a path; what lies there is told by its hash
        settings = self.settings.record() | {"model": model, "clips": asdict(self.rules)}
        return {"settings": settings, "weights": weights}


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `failed`: file name -> why it could not be annotated."""

    done: int  # pictures, by this call
    kept: int  # pictures that were done before
    annotations: int  # in coco.json, of all pictures in the folder
    undecided: int  # masks for a person to decide on, likewise
    masklets: int  # of all clips in the folder
    to_review: int  # files in review.json
    failed: Mapping[str, str] = field(default_factory=dict)


def annotate(
    material: Material,
    plan: Plan,
    out: Path,
    *,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Annotate pictures and clips that are not done yet, and write everything into `out`.

    `workers` do the work and must be entered already; without them this process does. A file that cannot
    be annotated does not end the run. After KeyboardInterrupt, and any other end, the same call goes on.

    Raises SinkError where another run is at work in the folder, or has left results of other settings there;
    PromptError for prompts, and clips in other modes than "auto"; CheckpointError and ConfigError for the
    model.
    """
    material = _fitting(material, plan, progress or Progress())
    progress = progress or Progress()
    with run_lock(out, None):
        run = _Run.begin(material, plan, out, progress)
        try:
            if workers is not None:
                return run.go(workers)
            with OneProcess() as alone:
                return run.go(alone)
        except KeyboardInterrupt:
            run.write_manifest("interrupted")
            raise


@dataclass
class _Run:
    plan: Plan
    out: Path
    progress: Progress
    manifest: dict[str, Any]
    made_of: str
    numbering: Numbering
    files: dict[str, Path]  # of this call, by the names of their results
    clips: frozenset[Path]
    asked: Asked

    @classmethod
    def begin(cls, material: Material, plan: Plan, out: Path, progress: Progress) -> _Run:
        """See that the folder is this run's, read the prompts, and give out numbers."""
        before = read_manifest(out)
        if before is None and (strangers := [path for path in out.iterdir() if path.name != HIDDEN]):
            raise SinkError(
                f"{out} holds {strangers[0].name}, but no manifest.json of an earlier run; choose another "
                "--out"
            )
        if before is not None and before.get("command") != COMMAND:
            raise SinkError(f"{out} holds results of {before.get('command')}; choose another --out")
        model = model_facts(plan.model)
        identity = plan.identity(model["sha256"])
        if before is not None and not any((out / RECORDS).glob("*.json")):
            before = None  # a run that ended before it did anything, for a wrong model perhaps
        if before is not None:
            _check_same(out, before["identity"], identity)
        numbering = Numbering() if before is None else Numbering.read(before["numbers"])
        named = numbering.take([*material.pictures, *material.clips])
        clips = frozenset(material.clips)
        asked = read_asked(plan.prompts, {name: file for name, file in named.items() if file not in clips})
        for note in asked.notes:
            progress.say(note)
        if asked.others:
            progress.say(f"the prompts speak of {not_here(asked.others)}")
        if plan.settings.mode == "assisted":
            numbering.take_categories(ask.category for some in asked.by_picture.values() for ask in some)
        else:
            numbering.take_categories([NAMELESS])
        manifest = {
            "version": 1,
            "command": COMMAND,
            "began": now() if before is None else before["began"],
            "model": model,
            "settings": plan.settings.record(),
            "outlines": plan.outlines,
            "rules": asdict(plan.rules),
            "prompts": [str(file.resolve()) for file in plan.prompts.files],
            **surroundings(),
            "identity": identity,
        }
        run = cls(plan, out, progress, manifest, hash_of(identity), numbering, named, clips, asked)
        run.write_manifest("running")  # before any picture is done, so that numbers stay
        return run

    def write_manifest(self, status: str, failed: Mapping[str, str] | None = None) -> None:
        ended = {} if status == "running" else {"ended": now()}
        more = {"status": status, **ended, "failed": dict(failed or {}), "numbers": self.numbering.record()}
        write_manifest(self.out, {**self.manifest, **more})

    def go(self, workers: Workers) -> Outcome:
        jobs, failed = self._jobs()
        kept = len(self.files) - len(jobs) - len(failed)
        if kept:
            self.progress.say(f"{kept} of {len(self.files)} files are done already")
        for file, why in failed.items():
            self.progress.say(f"{file}: {why}")
        done = 0
        self.progress.begin(sum(job.frames for job in jobs))
        for job, record in workers.run(jobs, self.progress):
            done += not record.error
            if record.error:
                failed[job.record.file_name] = record.error
                self.progress.say(f"{job.record.file_name}: {record.error}")
        return self._finish(done, kept, failed)

    def _jobs(self) -> tuple[list[PictureJob | ClipJob], dict[str, str]]:
        """What is left to do; and files that are not what they were when they were annotated."""
        jobs: list[PictureJob | ClipJob] = []
        refused: dict[str, str] = {}
        for name, path in self.files.items():
            asks = self.asked.by_picture.get(name, ())
            try:
                picture = hash_ends([path])
            except SourceError:
                picture = ""  # whoever reads it says what is wrong
            record = Record(
                *(name, path.name, self.numbering.ids[name], self.made_of, picture, hash_asks(asks)),
                is_clip=path in self.clips,
            )
            before = read_record(self.out, name)
            if before is None or before.made_of != self.made_of or not is_done(self.out, before):
                jobs.append(self._job(record, path, asks))
            elif (before.picture, before.asked) != (record.picture, record.asked):
                what = "the file is another" if before.picture != picture else "its prompts are others"
                refused[path.name] = (
                    f"{what} than when it was annotated; choose another --out, or have it done again by "
                    f"removing {self.out / RECORDS / name}.json"
                )
        return jobs, refused

    def _job(self, record: Record, path: Path, asks: tuple[Ask, ...]) -> PictureJob | ClipJob:
        plan = self.plan
        if not record.is_clip:
            return PictureJob(record, path, asks, plan.model, plan.settings, self.out, plan.memory_mb)
        try:
            with closing(open_source(path)) as clip:
                frames = clip.count or 1
        except SourceError:
            frames = 1  # whoever opens it says what is wrong
        return ClipJob(record, path, frames, plan.model, plan.settings, plan.rules, self.out, plan.memory_mb)

    def _finish(self, done: int, kept: int, failed: Mapping[str, str]) -> Outcome:
        """Write what all pictures of the folder came to, those of earlier calls too."""
        known = [read_record(self.out, name) for name, _ in stable_order(self.numbering)]
        records = [as_it_is(self.out, record) for record in known if record is not None]
        annotations = write_coco(self.out, records, self.numbering.categories, self.plan.outlines)
        to_review = write_review_list(self.out, records)
        summary = Summary(self.plan.settings, self.manifest["model"]["name"], dict(self.numbering.categories))
        write_pages(self.out, records, summary)
        self.write_manifest("failed" if failed else "complete", failed)
        undecided = sum(record.counts.get("doubted", 0) for record in records if not record.error)
        masklets = sum(record.counts.get("masklets", 0) for record in records if not record.error)
        return Outcome(done, kept, annotations, undecided, masklets, to_review, failed)


def _fitting(material: Material, plan: Plan, progress: Progress) -> Material:
    """What of the material is annotated in this mode. Raises PromptError where that is nothing."""
    clips = material.clips
    if not clips or plan.settings.mode == "auto":
        return material
    if not material.pictures:
        raise PromptError(
            f"{clips[0]} is a clip: those are annotated in the mode auto; to track what you point at, use "
            "`sam2-video track --save sav`"
        )
    names = ", ".join(clip.name for clip in clips[:5]) + (", ..." if len(clips) > 5 else "")
    progress.say(f"left out, as clips are annotated in the mode auto only: {names}")
    return Material(material.pictures, ())


def _check_same(out: Path, before: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Raise SinkError where a folder holds a run of other settings, with what differs."""
    try:
        found = list(differences(before, json.loads(json.dumps(identity))))
    except (TypeError, AttributeError) as error:
        raise DataError(f"{out}/manifest.json is damaged ({error!r}); choose another --out") from error
    if found:
        raise SinkError(
            f"{out} holds another run: {'; '.join(found)}. Repeat its command to go on with it, or choose "
            "another --out"
        )
