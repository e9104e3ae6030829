"""manifest.json: what was measured, with what, on what. It also tells the runs that belong into one folder.

`identity` holds all that decides predictions: settings, weights, and the frames of each sequence. A run goes
on in a folder whose manifest has the same identity, and is refused in any other. What tells the content of
frames and truth from others is kept with each sequence (`done.Done.data`): it takes reading them.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sam2_video.evaluation.in_memory import Beginning
from sam2_video.evaluation.machine import code_version, machine, package_versions
from sam2_video.evaluation.plan import ModelSetup, Plan, device_kind
from sam2_video.evaluation.sequences import DataSet, VosSequence
from sam2_video.sinks.base import write_whole
from sam2_video.types import DataError, SinkError

NAME = "manifest.json"
VERSION = 1
# What a difference is called, where it is not the name of an option.
WORDS = {"overrides": "KEY=VALUE", "weights": "the weights", "name": "--dataset"}
DERIVED = {"overlapping"}  # follows from the data set, which is named itself


def identity_of(plan: Plan, data: DataSet, weights: str) -> dict[str, Any]:
    """Return what decides predictions, as plain values. `weights` is their hash."""
    frames = {sequence.name: len(sequence.frame_names) for sequence in data.sequences}
    return {
        "settings": plan.settings(),
        "weights": weights,
        "data": {"name": data.name, "split": data.split, "sequences": frames},
    }


def hash_of(identity: Mapping[str, Any]) -> str:
    """Return a hash of plain values, whatever the order of their names."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def fingerprint(sequence: VosSequence) -> dict[str, Any]:
    """Return what tells the frames and the truth of a sequence from others. Raises DataError.

    Frames: a hash over the lengths of their files, and the ends of three of them. Truth: a hash over all of
    it. Sequences that are no files are told by their names and size alone.
    """
    from sam2_video.fingerprint import hash_ends

    whole = sequence.inner if isinstance(sequence, Beginning) else sequence
    found: dict[str, Any] = {"frames": len(whole.frame_names), "size": list(whole.size)}
    names = "\0".join(whole.frame_names)
    found["names"] = hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()
    frames, truth = getattr(whole, "frames", None), getattr(whole, "truth", None)
    if frames is not None and truth is not None:
        found["pictures"] = hash_ends(frames.files)
        digest = hashlib.sha256()
        for frame, path in truth.files():
            try:
                digest.update(f"{frame} ".encode() + hashlib.sha256(path.read_bytes()).digest())
            except OSError as error:
                raise DataError(f"cannot read {path}: {error.strerror or error}") from error
        found["truth"] = digest.hexdigest()
    return found


def model_facts(setup: ModelSetup) -> dict[str, Any]:
    """Return name, weights and their hash, the whole configuration, and how it runs; fetches weights.

    Raises CheckpointError, ConfigError.
    """
    from sam2_video.checkpoint import identify_weights, model_config

    config = model_config(setup.model, checkpoint=setup.checkpoint, overrides=setup.overrides)
    path, digest = identify_weights(setup.checkpoint or setup.model)
    return {
        "name": setup.model,
        "weights": str(path),
        "sha256": digest,
        "overrides": list(setup.overrides),
        "config": config,
        "device": device_kind(setup),
        "dtype": setup.dtype,
        "threads": setup.threads,
    }


def describe(
    plan: Plan, data: DataSet, model: Mapping[str, Any], identity: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what is known of a run before it begins."""
    side = model["config"].get("image_size")
    overlaps = "kept" if plan.overlapping else "a pixel belongs to the object with the largest logit"
    return {
        "version": VERSION,
        "command": "evaluate",
        "status": "running",
        "began": now(),
        "model": dict(model),
        "protocol": {"name": plan.protocol, "seed": plan.seed, "max_frames": plan.max_frames},
        "resolution": {"model": f"{side}x{side}", "results": "size of the frames"},
        "post_processing": {"threshold": "logit > 0", "fill_holes": 0, "overlaps": overlaps},
        "data": data_facts(data),
        **surroundings(),
        "identity": dict(identity),
    }


def data_facts(data: DataSet) -> dict[str, Any]:
    """Return what the data set says of itself."""
    return {
        "name": data.name,
        "split": data.split,
        "root": data.root,
        "rule": data.rule,
        "source": data.source,
        "withheld": data.withheld,
        "sequences": len(data.sequences),
        "is_part": data.is_part,
        "frames": sum(len(sequence.frame_names) for sequence in data.sequences),
    }


def surroundings() -> dict[str, Any]:
    """Return code, versions and machine of this process."""
    return {"code": code_version(), "versions": package_versions(), "machine": machine()}


def read_manifest(out: Path) -> dict[str, Any] | None:
    """Return what OUT/manifest.json says, None where there is none. Raises DataError for a damaged one."""
    path = out / NAME
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found["identity"], dict) or found["version"] != VERSION:
            raise ValueError(f"it is of version {found['version']}, expected {VERSION}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no manifest of a run ({error}); choose another --out") from error
    return dict(found)


def check_free(out: Path, names: Iterable[str]) -> None:
    """Raise SinkError where a folder without a manifest holds files of these names: they are not ours."""
    there = [name for name in names if (out / name).exists()]
    if there:
        raise SinkError(f"{out} holds {', '.join(there)} that no run of this kind made; choose another --out")


def write_manifest(out: Path, manifest: Mapping[str, Any]) -> None:
    """Write OUT/manifest.json, whole or not at all. Raises SinkError."""
    text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    # Names of files that are no UTF-8 hold lone surrogates, which JSON takes as \udcXX.
    write_whole(out / NAME, text.encode("utf-8", "backslashreplace"))


def check_same(out: Path, before: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Raise SinkError where a folder holds a run of another identity, with what differs."""
    if before.get("command") != "evaluate":
        raise SinkError(f"{out} holds scores of other predictions; choose another --out")
    plain = json.loads(json.dumps(identity))
    found = list(differences(before["identity"], plain))
    if found:
        raise SinkError(
            f"{out} holds another run: {'; '.join(found)}. Repeat its command to go on with it, or choose "
            "another --out"
        )


def differences(before: Any, now: Any, key: str = "") -> Iterator[str]:
    """Say what two identities do not share, by the names of options."""
    if key == "sequences":
        if before != now:
            yield _of_sequences(before or {}, now or {})
    elif isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            if name not in DERIVED:
                yield from differences(before.get(name), now.get(name), name)
    elif before != now:
        word = WORDS.get(key, f"--{key.replace('_', '-')}")
        yield f"{word} differ" if key == "weights" else f"{word} was {before!r}, and is {now!r} now"


def _of_sequences(before: Mapping[str, int], now: Mapping[str, int]) -> str:
    gone, new = sorted(set(before) - set(now)), sorted(set(now) - set(before))
    other = sorted(name for name in set(before) & set(now) if before[name] != now[name])
    parts = [
        f"{title} {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
        for title, names in (("without", gone), ("with", new), ("of another length:", other))
        if names
    ]
    return f"the sequences are others: {len(before)} then, {len(now)} now, {'; '.join(parts)}"


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0).isoformat()
