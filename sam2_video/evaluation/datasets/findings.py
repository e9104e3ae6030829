"""What is wrong with a data set, one finding for each thing, in the order of looking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sam2_video.types import DataError

Severity = Literal["error", "warning", "note"]
SHOWN = 5  # findings that a message quotes


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong ("error"), suspicious ("warning") or good to know ("note")."""

    severity: Severity
    path: str
    message: str
    sequence: str = ""

    def __str__(self) -> str:
        return f"{self.severity}: {self.path}: {self.message}"


@dataclass
class Findings:
    """Findings as they are made."""

    found: list[Finding] = field(default_factory=list)

    def add(self, severity: Severity, path: Path, message: str, sequence: str = "") -> None:
        self.found.append(Finding(severity, str(path), message, sequence))

    @property
    def errors(self) -> list[Finding]:
        return [one for one in self.found if one.severity == "error"]

    def raise_errors(self, what: str) -> None:
        """Raise DataError that quotes the first errors, if there are any."""
        if self.errors:
            raise DataError(f"{what} cannot be used:\n{quote(self.errors)}")


def quote(findings: Sequence[Finding]) -> str:
    """Return the first findings, a line for each, and how many more there are."""
    lines = [f"  {one.path}: {one.message}" for one in findings[:SHOWN]]
    if len(findings) > SHOWN:
        lines.append(f"  and {len(findings) - SHOWN} more; check the data set to see all")
    return "\n".join(lines)
