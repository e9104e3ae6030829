"""How much memory does a step of fine-tuning take, by preset, model and resolution?

    python benchmarks/finetune_memory.py [--models nano,sam2.1_hiera_tiny] [--sizes 256,512,1024] [--frames 8]

With a CUDA GPU each figure is measured: a step forward, backward and through the optimiser, on random pixels,
in bf16 autocast; the most that was allocated. Without one it is computed, and marked so: the same step on
tensors that have shapes and no values, in bf16 autocast; weights, gradients and AdamW's two moments in
float32, what the graph holds when the backward pass begins, and the largest block that is computed again.
What lives for a moment, and the allocator's loss, are not in it.

One picture with 4 objects, or one clip of 8 frames with 3 objects that is corrected twice. The encoder of the
presets `decoder` and `decoder+memory` runs without a graph; with cached embeddings it does not run at all.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch
from omegaconf import OmegaConf
from torch import Tensor

from sam2_video.config import build_model, config_folder
from sam2_video.finetuning import steps
from sam2_video.finetuning.presets import prepare, trained_weights
from sam2_video.finetuning.prompts import Group
from sam2_video.finetuning.settings import (
    ClipPrompts,
    DataSettings,
    FinetuneSettings,
    LoraSettings,
    LossSettings,
    PicturePrompts,
    Preset,
    Schedule,
)
from sam2_video.model.hiera import HieraBlock
from sam2_video.model.mask_decoder import TwoWayBlock
from sam2_video.model.memory_attention import MemoryAttentionLayer
from sam2_video.model.sam2 import SAM2
from sam2_video.training.prompting import Clicks, corrected
from sam2_video.types import PromptTensors

PRESETS = ("decoder", "decoder+memory", "full", "lora")
OBJECTS = {1: 4, 8: 3}
GIB = 2**30


def read_preset(name: str) -> Preset:
    """The packaged preset."""
    values = dict(OmegaConf.to_container(OmegaConf.load(config_folder() / f"train/preset/{name}.yaml")))  # type: ignore[arg-type]
    lora = values.pop("lora")
    if lora is not None:
        lora = LoraSettings(**{**lora, "targets": tuple(lora["targets"])})
    return Preset(**{**values, "parts": tuple(values["parts"]), "lora": lora})  # type: ignore[arg-type]


def settings_of(preset: Preset, frames: int) -> FinetuneSettings:
    data = DataSettings("voc" if frames == 1 else "davis2017", ".", frames=frames)
    prompts = PicturePrompts() if frames == 1 else ClipPrompts()
    losses = LossSettings(bce=1, dice=1) if frames == 1 else LossSettings(focal=20, dice=1, iou=1, presence=1)
    return FinetuneSettings(data, prompts, losses, Schedule(), preset)


def a_batch(size: int, frames: int, device: torch.device) -> steps.Batch:
    """One picture or clip, its objects all over it."""
    objects = OBJECTS.get(frames, 3)
    return steps.Batch(
        torch.randn(frames, 1, 3, size, size, device=device),
        None,
        torch.zeros(objects, dtype=torch.int64, device=device),
        torch.ones(frames, objects, size, size, dtype=torch.bool, device=device),
        None,
        torch.full((objects,), 1 / objects, device=device),
        ((0,),) * objects,
    )


@contextmanager
def prompts_by_shape() -> Iterator[None]:
    """Simulated users look at values; here their clicks lie anywhere."""
    kept = steps._first_prompt, steps._correct

    def first(masks: Tensor, kind: str, generators: object) -> PromptTensors:
        labels = torch.tensor([2, 3], device=masks.device).expand(len(masks), 2)
        return PromptTensors(torch.zeros(len(masks), 2, 2, device=masks.device), labels)

    def correct(prompt, prediction, batch, frame, generators):  # type: ignore[no-untyped-def]
        count, device = len(batch.owner), batch.owner.device
        click = Clicks(
            torch.zeros(count, 1, 2, device=device), torch.ones(count, 1, dtype=torch.int64, device=device)
        )
        return corrected(prompt, click, previous=prediction.logits.detach())

    steps._first_prompt, steps._correct = first, correct
    try:
        yield
    finally:
        steps._first_prompt, steps._correct = kept


def forward(step: steps.Pass, batch: steps.Batch, frames: int) -> Tensor:
    """The loss of one pass."""
    factors = step.settings.losses
    if frames > 1:
        terms = steps.mean(step._clips(batch, steps.Plan("box", (0, 4), 3)))
    else:
        assert batch.pixels is not None
        rows = torch.arange(len(batch.owner), device=batch.owner.device)
        points = torch.zeros(len(rows), 4, 2, device=rows.device)
        labels = torch.tensor([2, 3, 1, 0], device=rows.device).expand(len(rows), 4)
        group = Group(rows, PromptTensors(points, labels))
        terms = step._rounds(group, batch, step.encode(batch.pixels[0]))
    return terms.weighted(batch.weights).total(factors)


def measured(name: str, preset: Preset, size: int, frames: int) -> tuple[float, float]:
    """Most that a step takes on the GPU, and what computing says of it; the first step makes moments."""
    device = torch.device("cuda")
    torch.cuda.empty_cache()
    model = build_model(name, [f"image_size={size}"])
    assert isinstance(model, SAM2)
    step = steps.Pass(model, prepare(model, preset, 0), settings_of(preset, frames)).to(device).train()
    optimizer = torch.optim.AdamW(trained_weights(model).values())
    batch = a_batch(size, frames, device)
    for _ in range(2):
        torch.cuda.reset_peak_memory_stats()
        with torch.autocast("cuda", torch.bfloat16):
            loss = forward(step, batch, frames)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return torch.cuda.max_memory_allocated() / GIB, computed(name, preset, size, frames)


def computed(name: str, preset: Preset, size: int, frames: int) -> float:
    """What a step holds when its backward pass begins, by shapes alone."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    device = torch.device("cpu")
    # Adapters would be moved to where they are, which tensors without values do not take.
    with FakeTensorMode(), patch("torch.nn.Module.to", lambda self, *_, **__: self):
        model = _without_values(name, size)
        step = steps.Pass(model, prepare(model, preset, 0), settings_of(preset, frames)).train()
        weights = {id(p.untyped_storage()): p.nbytes for p in model.parameters()}
        trained = sum(p.nbytes for p in trained_weights(model).values())
        held = _Held(set(weights))
        with torch.autograd.graph.saved_tensors_hooks(held.pack, lambda tensor: tensor):
            with torch.autocast("cpu", torch.bfloat16):
                loss = forward(step, a_batch(size, frames, device), frames)
        again = _largest_block(name, size, frames, preset) if preset.checkpointing else 0
        del loss
    return (sum(weights.values()) + 3 * trained + held.total + again) / GIB


def _without_values(name: str, size: int) -> SAM2:
    # This initialiser looks at the values that it drew, and there are none.
    with patch("torch.nn.init.trunc_normal_", lambda tensor, **_: tensor):
        model = build_model(name, [f"image_size={size}"])
    assert isinstance(model, SAM2)
    return model


class _Held:
    """Adds up the storages that a graph keeps, each once, weights apart."""

    def __init__(self, known: set[int]) -> None:
        self._kept: dict[int, object] = {}
        self._known, self.total = known, 0

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._kept and not isinstance(tensor, torch.nn.Parameter):
            self._kept[key] = storage
            self.total += storage.nbytes()
        return tensor


def _largest_block(name: str, size: int, frames: int, preset: Preset) -> int:
    """Of the blocks that are computed again in the backward pass, what the largest one holds."""
    model = _without_values(name, size)
    whole = Preset(preset.name, preset.parts, preset.lora, checkpointing=False)
    step = steps.Pass(model, prepare(model, whole, 0), settings_of(whole, frames)).train()
    found: list[int] = []
    for module in model.modules():
        if isinstance(module, HieraBlock | MemoryAttentionLayer | TwoWayBlock):
            inner = module.forward

            def watched(*inputs, inner=inner):  # type: ignore[no-untyped-def]
                held = _Held(set())
                with torch.autograd.graph.saved_tensors_hooks(held.pack, lambda tensor: tensor):
                    out = inner(*inputs)
                found.append(held.total)
                return out

            module.forward = watched  # type: ignore[method-assign]
    with torch.autocast("cpu", torch.bfloat16):
        forward(step, a_batch(size, frames, torch.device("cpu")), frames)
    return max(found)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", default="nano,sam2.1_hiera_tiny,sam2.1_hiera_base_plus,sam2.1_hiera_large"
    )
    parser.add_argument("--sizes", default="512,1024")
    parser.add_argument("--frames", type=int, default=1, help="of a clip; 1: pictures")
    parser.add_argument("--out", type=Path, default=None, help="write the table there, too")
    words = parser.parse_args()
    gpu = torch.cuda.is_available()
    sizes = [int(text) for text in words.sizes.split(",")]
    how = f"measured on {torch.cuda.get_device_name()} (computed)" if gpu else "computed, not measured"
    kind = "pictures" if words.frames == 1 else f"clips of {words.frames} frames"
    lines = [f"GiB of a step on {kind}, {how}", ""]
    lines += ["| model | size | " + " | ".join(PRESETS) + " |", "|---" * (2 + len(PRESETS)) + "|"]
    with prompts_by_shape():
        for name in words.models.split(","):
            for size in sizes:
                cells = []
                for preset in PRESETS:
                    if preset == "decoder+memory" and words.frames == 1:
                        cells.append("-")
                    elif gpu:
                        real, told = measured(name, read_preset(preset), size, words.frames)
                        cells.append(f"{real:.1f} ({told:.1f})")
                    else:
                        cells.append(f"{computed(name, read_preset(preset), size, words.frames):.1f}")
                lines.append(f"| `{name}` | {size} | " + " | ".join(cells) + " |")
                print(lines[-1], flush=True)
    text = "\n".join(lines)
    print(text)
    if words.out is not None:
        words.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
