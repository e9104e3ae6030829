"""What a reader must know before any figure: what failed, what is missing, what was not scored and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from sam2_video.evaluation.report.html import Child, Html, element, folded
from sam2_video.evaluation.report.tables import name_of
from sam2_video.evaluation.results import Evaluation
from sam2_video.evaluation.sequences import DataSet

_LONGEST_ERROR = 4000  # characters
_LONGEST_LINE = 300
_NAMES = 20


@dataclass(frozen=True)
class Notices:
    """How the sequences of a data set fared."""

    evaluation: Evaluation
    data: DataSet

    @cached_property
    def failed(self) -> Mapping[str, str]:
        """Sequence -> error of those that could not be run or scored."""
        known = self.evaluation.manifest.get("failed")
        errors = {run.name: run.error for run in self.evaluation.runs if run.error}
        others = known if isinstance(known, Mapping) else {}
        return errors | {str(name): str(error) for name, error in others.items() if name not in errors}

    @property
    def scored(self) -> Collection[str]:
        """Names of the sequences that have scores."""
        return self.evaluation.summary.by_sequence if self.evaluation.summary else ()

    @property
    def absent(self) -> list[str]:
        """Sequences that neither ran nor were scored."""
        there = {run.name for run in self.evaluation.runs} | set(self.scored) | set(self.failed)
        return [sequence.name for sequence in self.data.sequences if sequence.name not in there]

    @property
    def not_scored(self) -> list[str]:
        """Sequences that ran to their end and have no score though others do: none of their frames counts."""
        if not self.scored:
            return []
        names = [run.name for run in self.evaluation.runs]
        return [name for name in names if name not in self.failed and name not in self.scored]

    @property
    def is_partial(self) -> bool:
        """Are the figures those of a part of the data set, or of nothing?"""
        nothing = self.evaluation.summary is None and not self.data.withheld
        return bool(self.failed or self.absent or nothing)

    @property
    def frames_used(self) -> int:
        """How many frames of each sequence were used, where they were cut; else 0."""
        manifest = self.evaluation.manifest
        protocol = manifest.get("protocol")  # where somebody else's masks are scored there is none
        most = (protocol if isinstance(protocol, Mapping) else manifest).get("max_frames")
        return most if isinstance(most, int) else 0

    @property
    def missing(self) -> int:
        return self.evaluation.summary.missing if self.evaluation.summary else 0

    def short(self) -> str:
        """A few words for the title of the page; none where all is well."""
        if self.failed:
            return f"{len(self.failed)} of {len(self.data.sequences)} sequences FAILED"
        if self.is_partial:
            return "INCOMPLETE"
        return f"{self.missing} predictions missing" if self.missing else ""

    def html(self, most: int) -> Iterator[Html]:
        """Yield a box for each thing, the worst first; names at most `most` failed sequences with errors."""
        total = len(self.data.sequences)
        if self.failed:
            shown = list(self.failed.items())[:most]
            yield _box(
                "alarm",
                f"{_count(len(self.failed), 'sequence')} of {total} failed",
                element("p", self._consequence()),
                element("ul", *(_failure(name, error) for name, error in shown), class_="failures"),
                f"and {len(self.failed) - most} more" if len(self.failed) > most else None,
            )
        if self.absent:
            yield _box(
                "alarm",
                f"{_count(len(self.absent), 'sequence')} of {total} not there",
                "They were not run, or not to their end, and no figure on this page includes them: ",
                _names(self.absent),
            )
        if self.evaluation.summary is None and not self.data.withheld:
            reason = str(self.evaluation.manifest.get("not_scored") or "")
            said = f"Why: {reason}." if reason else "No sequence came to the point where masks are compared."
            yield _box("alarm", "Nothing was scored", said)
        if self.missing:
            yield _box("warning", f"{_count(self.missing, 'mask')} without a prediction", *self._missing())
        if self.not_scored:
            yield _box(
                "information",
                f"{_count(len(self.not_scored), 'sequence')} without a score",
                "They ran, but none of their frames counts by the rule of the data set: ",
                _names(self.not_scored),
            )
        if self.frames_used:
            yield _box(
                "warning",
                f"Only the first {self.frames_used} frames of each sequence",
                "What comes later is harder: these figures cannot be compared with those of whole sequences.",
            )
        if self.data.is_part:
            yield _box(
                "warning",
                f"Only {_count(total, 'sequence')}, chosen by name",
                "These figures cannot be compared with those of the whole data set.",
            )
        if self.data.withheld:
            yield _box("information", "Not scored here", f"{self.data.withheld}.")

    def _consequence(self) -> str:
        """What failures mean for the figures, and what to do."""
        counted = [name for name in self.failed if name in self.scored]
        said = []
        if counted:
            said.append(f"What {len(counted)} of them did not predict counts as empty in all figures.")
        if self.scored and len(counted) < len(self.failed):
            left = "They are" if not counted else f"{len(self.failed) - len(counted)} of them are"
            said.append(f"{left} in no figure on this page: it is not the score of the whole data set.")
        again = "; what is finished is not run again" if self.evaluation.runs else ""
        return " ".join([*said, f"Repair the cause and run the same command again{again}."])

    def _missing(self) -> Iterator[Child]:
        assert self.evaluation.summary is not None
        yield "Each counts as an empty mask. Where the object is there, that scores 0: "
        found: dict[str, int] = {}
        for score in self.evaluation.summary.objects:
            if score.missing:
                found[score.sequence] = found.get(score.sequence, 0) + len(score.missing)
        worst = sorted(found.items(), key=lambda item: (-item[1], item[0]))
        for k, (name, count) in enumerate(worst[:_NAMES]):
            yield (", " if k else None, name_of(name), f" ({count})")
        if len(worst) > _NAMES:
            yield f" and {len(worst) - _NAMES} more sequences"


def _box(kind: str, title: str, *children: Child) -> Html:
    role = "alert" if kind == "alarm" else "note"
    return element("section", element("h2", title), *children, class_=f"box {kind}", role=role)


def _failure(name: str, error: str) -> Html:
    """The first line of a message, or the last one of a trace, says what went wrong."""
    error = error.strip()[-_LONGEST_ERROR:]
    lines = error.splitlines() or ["no reason was given"]
    last = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    said = last if len(last) <= _LONGEST_LINE else last[:_LONGEST_LINE] + "..."
    whole = folded("all of it", element("pre", error)) if said != error else None
    return element("li", element("b", name_of(name)), ": ", element("span", said, class_="error"), whole)


def _names(names: Sequence[str]) -> Html:
    shown: list[Child] = [(", " if k else None, name_of(name)) for k, name in enumerate(names[:_NAMES])]
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else None
    return element("span", *shown, more)


def _count(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
