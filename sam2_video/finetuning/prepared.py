"""The data of a run, checked once: the outcome is kept in the folder of the run."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sam2_video.finetuning.check import Checked, check_data
from sam2_video.finetuning.data import Data, open_data
from sam2_video.finetuning.processes import Processes
from sam2_video.finetuning.settings import DATA_RUN_ONLY, DataSettings
from sam2_video.training.loop import write_json
from sam2_video.types import ConfigError

log = logging.getLogger(__name__)
FILE = "check.json"


def prepared_data(settings: DataSettings, folder: Path, processes: Processes) -> Data:
    """Return what can be trained on. The first process decodes everything once; a resumed run does not again.

    Raises DataError where something is broken and is not to be skipped, ConfigError where machines
    write into folders of their own.
    """
    path = folder / FILE
    if processes.leads and _kept(path, settings) is None:
        checked = check_with_bar(settings)
        left = checked.usable(skip_broken=settings.skip_broken)
        if checked.broken or checked.empty:
            log.warning("%s; training on %d", checked.summary(), len(left.train))
        write_json(
            path,
            {
                "data": _record(settings),
                "broken": checked.broken,
                "empty": checked.empty,
                "findings": [str(one) for one in checked.findings],
            },
        )
    processes.wait()
    kept = _kept(path, settings)
    if kept is None:
        raise ConfigError(
            f"{folder} is not the folder that the first process writes: all machines share --out"
        )
    return open_data(settings).without({*kept["broken"], *kept["empty"]})


def check_with_bar(settings: DataSettings) -> Checked:
    """As `check_data`, with a bar that shows how far it is."""
    with tqdm(desc="check", unit="item", disable=None, leave=False) as bar:

        def show(done: int, count: int) -> None:
            bar.total = count
            bar.update(done - bar.n)

        return check_data(settings, show)


def _record(settings: DataSettings) -> dict[str, Any]:
    values = {k: v for k, v in asdict(settings).items() if k not in DATA_RUN_ONLY}
    return dict(json.loads(json.dumps(values)))


def _kept(path: Path, settings: DataSettings) -> dict[str, Any] | None:
    """Return what was found in this data before; None for other data, or where nothing was."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("data") == _record(settings) else None
