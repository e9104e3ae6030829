"""What computed something: code, versions, processor. Figures without it cannot be repeated."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import sam2_video
from sam2_video.sinks.run_json import versions

PACKAGES = ("opencv-python-headless", "opencv-python", "pillow", "av", "decord", "safetensors", "ray")
PACKAGE = Path(sam2_video.__file__).parent
GIT_SECONDS = 20


def made_by(device: Any = None) -> dict[str, Any]:
    """Return what tells one computation from another: code, torch, and the processor that it ran on."""
    import torch

    code = code_version()
    kept = {key: code[key] for key in ("version", "commit", "dirty", "source_sha256")}
    return {"code": kept, "torch": torch.__version__, "processor": processor(device)}


def machine() -> dict[str, Any]:
    """Return the processor, cores, GPUs and system of this machine; not its name."""
    import torch

    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "cores_usable": usable_cores(),
        "gpus": gpus,
        "cuda": torch.version.cuda,
        "system": platform.platform(),
    }


def usable_cores() -> int:
    """How many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def processor(device: Any = None) -> str:
    """The name of a GPU, or of the CPU."""
    if getattr(device, "type", "cpu") == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    return _cpu()


@cache
def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def package_versions() -> dict[str, str]:
    """Versions of this package, of Python and of all that frames and masks go through."""
    out = versions()
    for name in PACKAGES:
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return out


@cache
def code_version() -> dict[str, Any]:
    """Version and hash of the package's sources; in a checkout also the commit, and whether files differ.

    `commit` and `dirty` are None where the package is not part of a checkout.
    """
    commit = _git("rev-parse", "HEAD") if _is_tracked() else None
    changes = _git("status", "--porcelain", "--", *_folders()) if commit else None
    return {
        "version": versions()["sam2_video"],
        "commit": commit or None,
        "dirty": None if changes is None else bool(changes),
        "source_sha256": _hash_sources(),
    }


def _is_tracked() -> bool:
    """Does the repository around the package hold it? An environment may lie in the folder of another one."""
    return bool(_git("ls-files", "--error-unmatch", "--", str(PACKAGE / "__init__.py")))


def _folders() -> list[str]:
    beside = PACKAGE.parent / "configs"
    return [str(PACKAGE), *([str(beside)] if beside.is_dir() else [])]


def _git(*words: str) -> str | None:
    """What git says; None where there is no git, no repository, or no answer."""
    command = ["git", "-C", str(PACKAGE), "--no-optional-locks", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _hash_sources() -> str:
    """SHA-256 over names and contents of all Python and YAML files of the package."""
    digest = hashlib.sha256()
    for folder in map(Path, _folders()):
        files = [*folder.rglob("*.py"), *folder.rglob("*.yaml")]
        for file in sorted(files):
            digest.update(f"{file.relative_to(folder).as_posix()}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
