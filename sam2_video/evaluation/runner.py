"""An evaluation from beginning to end: what is left to do, who does it, and what the folder holds afterwards.

OUT/manifest.json                what was run
OUT/predictions/SEQ/...          see `predictions`; a folder that is there is whole
OUT/sequences/SEQ.json           how each sequence went, see `done`
OUT/scores.csv, frames.csv, report.html

The same call goes on with a run that was ended, however that came about: what is done is not done again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sam2_video.evaluation.done import Done, find_done, read_done
from sam2_video.evaluation.finish import REPORT, TABLES, ScoreOptions, Scorer, finish
from sam2_video.evaluation.locks import Shard, run_lock, short_lock
from sam2_video.evaluation.manifest import (
    check_free,
    check_same,
    describe,
    fingerprint,
    hash_of,
    identity_of,
    model_facts,
    now,
    read_manifest,
    write_manifest,
)
from sam2_video.evaluation.plan import Plan, shorten
from sam2_video.evaluation.predictions import remove_unfinished
from sam2_video.evaluation.protocols import make_protocol
from sam2_video.evaluation.results import Evaluation
from sam2_video.evaluation.sequences import DataSet, VosSequence
from sam2_video.evaluation.tracking import TrackJob
from sam2_video.evaluation.workers import OneProcess, Progress, Workers
from sam2_video.types import DataError, SinkError, SourceError


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `evaluation` is None for a shard that is not the last one."""

    evaluation: Evaluation | None
    tracked: int  # sequences, by this call
    kept: int  # sequences that were done before
    failed: Mapping[str, str] = field(default_factory=dict)  # sequence -> why
    waiting: tuple[str, ...] = ()  # sequences of other shards that are not there yet
    not_scored: str = ""  # why there are no figures


def evaluate(
    data: DataSet,
    plan: Plan,
    out: Path,
    *,
    shard: Shard | None = None,
    options: ScoreOptions | None = None,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Track all sequences that are not done yet, score them, and write everything into `out`.

    `workers` do the work and must be entered already; without them this process does. A sequence that fails
    does not end the run: it is named in the outcome and in the report. A shard tracks its part of the
    sequences; the one that finds all of them there scores. After KeyboardInterrupt, and after any other end,
    the same call goes on.

    Raises SinkError where another run is at work in the folder, or has left another evaluation there;
    CheckpointError and ConfigError for the model and the protocol; DataError for data that cannot be read at
    all, or changed since a sequence was tracked.
    """
    progress = progress or Progress()
    make_protocol(plan.protocol)
    with run_lock(out, shard):
        run = _Run.begin(shorten(data, plan.max_frames), plan, out, shard, progress)
        if workers is not None:
            return run.go(workers, options or ScoreOptions())
        with OneProcess() as alone:
            return run.go(alone, options or ScoreOptions())


@dataclass
class _Run:
    data: DataSet
    plan: Plan
    out: Path
    shard: Shard | None
    progress: Progress
    manifest: dict[str, Any]
    made_of: str

    @classmethod
    def begin(cls, data: DataSet, plan: Plan, out: Path, shard: Shard | None, progress: Progress) -> _Run:
        """See that the folder is this run's, or make it so."""
        model = model_facts(plan.model)
        identity = identity_of(plan, data, model["sha256"])
        with short_lock(out, "manifest"):  # shards begin together
            before = read_manifest(out)
            if before is None:
                check_free(out, ("predictions", "sequences", *TABLES, REPORT))
                manifest = describe(plan, data, model, identity)
                write_manifest(out, manifest)
            else:
                check_same(out, before, identity)
                manifest = describe(plan, data, model, identity) | {"began": before["began"]}
        return cls(data, plan, out, shard, progress, manifest, hash_of(identity))

    def go(self, workers: Workers, options: ScoreOptions) -> Outcome:
        """Do it; whatever ends it early leaves nothing half-written, and the manifest says so of Ctrl-C."""
        try:
            return self._go(workers, options)
        except BaseException as error:
            workers.stop()  # first: they would go on writing
            remove_unfinished(self.out / "predictions", {sequence.name for sequence in self._share()})
            if isinstance(error, KeyboardInterrupt) and self.shard is None:  # it belongs to all shards
                write_manifest(self.out, self.manifest | {"status": "interrupted", "ended": now()})
            raise

    def _go(self, workers: Workers, options: ScoreOptions) -> Outcome:
        sequences = self._share()
        remove_unfinished(self.out / "predictions", {sequence.name for sequence in sequences})
        jobs, failed = self._jobs(sequences)
        kept = len(sequences) - len(jobs) - len(failed)
        if kept:
            self.progress.say(f"{kept} of {len(sequences)} sequences are done already")
        for name, error in failed.items():
            self.progress.say(f"{name} failed: {error}")
        self.progress.begin(sum(job.frames for job in jobs))
        tracked = 0
        for job, run in workers.run(jobs, self.progress):
            tracked += not run.error
            if run.error:
                failed[job.name] = run.error
                self.progress.say(f"{job.name} failed: {run.error}")
        remove_unfinished(self.out / "predictions", {job.name for job in jobs})  # by workers that died
        with short_lock(self.out, "scores"):  # of two shards that end together, one scores after the other
            known = {sequence.name: self._known(sequence) for sequence in self.data.sequences}
            waiting = tuple(name for name, done in known.items() if done is None)
            if waiting:
                self._check_own(waiting)
                return Outcome(None, tracked, kept, failed, waiting)
            runs = [
                replace(done.run, error=done.run.error or failed.get(name, ""))
                for name, done in known.items()
                if done is not None
            ]
            scorer = Scorer(self.data, self.out / "predictions", options)
            manifest = self.manifest | {"made_by": _makers(known.values()), "data": self._data(known)}
            finished = finish(self.out, scorer, runs, manifest, workers, Progress(say=self.progress.say))
        errors = dict(finished.errors)
        return Outcome(finished.evaluation, tracked, kept, errors, not_scored=finished.not_scored)

    def _check_own(self, waiting: Collection[str]) -> None:
        """Raise SinkError where sequences of this run's own share are not in its folder, though worked on."""
        lost = [sequence.name for sequence in self._share() if sequence.name in waiting]
        if lost:
            names = ", ".join(lost[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
            raise SinkError(
                f"workers were at {names}, but nothing of it is in {self.out}: workers on other machines "
                "must see the same folder under the same path, and nobody may remove files from it"
            )

    def _share(self) -> list[VosSequence]:
        """The sequences of this shard, all without one. Dealt out in turns: neighbours are often alike."""
        if self.shard is None:
            return list(self.data.sequences)
        return list(self.data.sequences[self.shard.number - 1 :: self.shard.count])

    def _jobs(self, sequences: list[VosSequence]) -> tuple[list[TrackJob], dict[str, str]]:
        """What is left to do, the longest sequence first, so that no worker is late; and what cannot be read.

        Raises DataError for a sequence that changed since it was tracked.
        """
        jobs, failed = [], {}
        for sequence in sequences:
            try:
                facts = fingerprint(sequence)
            except (DataError, SourceError) as error:
                failed[sequence.name] = str(error)
                if find_done(self.out, sequence.name, self.made_of) is None:  # what was done stays done
                    TrackJob(sequence, self.plan, self.out, self.made_of, {}).failed(str(error))
                continue
            done = find_done(self.out, sequence.name, self.made_of)
            if done is None:
                jobs.append(TrackJob(sequence, self.plan, self.out, self.made_of, facts))
            elif done.data != facts:
                changed = ", ".join(key for key in facts if facts[key] != done.data.get(key))
                raise DataError(
                    f"sequence {sequence.name} is not what it was when it was tracked: other {changed}. "
                    "Choose another --out, or have it tracked again by removing "
                    f"{self.out / 'sequences' / sequence.name}.json"
                )
        return sorted(jobs, key=lambda job: -job.frames), failed

    def _known(self, sequence: VosSequence) -> Done | None:
        """What is known of a sequence that is done, or that failed; None where it is not there."""
        done = read_done(self.out / "sequences", sequence.name)
        if done is None or done.made_of != self.made_of:
            return None
        if done.run.error:
            return done
        return find_done(self.out, sequence.name, self.made_of)

    def _data(self, known: Mapping[str, Done | None]) -> dict[str, Any]:
        """What the manifest says of the data, with what tells it from other data."""
        facts = {name: dict(done.data) for name, done in known.items() if done is not None}
        return {**self.manifest["data"], "fingerprint": hash_of(facts), "fingerprints": facts}


def _makers(known: Iterable[Done | None]) -> list[dict[str, Any]]:
    """Who computed the sequences, and how many each: more than one where code or machine changed between."""
    found: dict[str, dict[str, Any]] = {}
    for done in known:
        if done is not None and done.made_by:
            entry = found.setdefault(hash_of(done.made_by), {**done.made_by, "sequences": 0})
            entry["sequences"] += 1
    return list(found.values())
