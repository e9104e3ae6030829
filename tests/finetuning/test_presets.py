"""What a preset trains, what it leaves alone, and what that costs in memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sam2_video.checkpoint import load_model
from sam2_video.finetuning import FinetuneSettings, finetune
from sam2_video.finetuning.adapters import add_adapters, merged_state
from sam2_video.finetuning.presets import Frozen, part_of_name, prepare, trained_weights
from sam2_video.finetuning.samples import Draw
from sam2_video.finetuning.settings import LoraSettings, Preset
from sam2_video.finetuning.steps import Pass, Plan, join
from sam2_video.model.sam2 import SAM2
from sam2_video.tracker import remember
from sam2_video.types import ConfigError, Recall
from tests.finetuning.conftest import Settings
from tests.finetuning.drawn import write_clips

LORA = LoraSettings(rank=2, alpha=4)


def network(toy: Path) -> SAM2:
    model = load_model(toy)
    assert isinstance(model, SAM2)
    return model


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    write_clips(root)
    return root


def on_clips(settings: Settings, clips: Path, *more: str) -> FinetuneSettings:
    """Short clips, every frame corrected, so that all that can be trained is."""
    few = ["data=davis", f"data.folder={clips}", "data.frames=3", "data.workers=0", "schedule.epochs=1"]
    few += ["prompts.mask=0", "prompts.correction_clicks=1", "schedule.accumulate=1", "data.max_stride=1"]
    return settings(*few, *more, config="finetune_video")


def forward(model: SAM2, settings: FinetuneSettings, plan: Plan) -> tuple[Pass, Tensor]:
    from sam2_video.finetuning.data import open_data

    step = Pass(model, prepare(model, settings.preset, 0), settings)
    draw = Draw(open_data(settings.data).train, settings, model.image_size)
    batch = join([draw(0, 0), draw(0, 1)], torch.device("cpu"))
    return step, step(batch, plan)[0]


def test_every_weight_has_a_part(toy: Path) -> None:
    parts = {part_of_name(name) for name, _ in network(toy).named_parameters()}
    assert parts == {"encoder", "prompts", "decoder", "memory"}


@pytest.mark.parametrize(
    ("preset", "parts"),
    [
        ("decoder", {"decoder"}),
        ("decoder+memory", {"decoder", "memory"}),
        ("full", {"encoder", "prompts", "decoder", "memory"}),
    ],
)
def test_gradients_reach_what_a_preset_trains_and_nothing_else(
    preset: str, parts: set[str], settings: Settings, toy: Path, clips: Path
) -> None:
    model = network(toy)
    _, loss = forward(model, on_clips(settings, clips, f"preset={preset}"), Plan("click", (0, 1), 2))
    loss.backward()
    moved = {n for n, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert {part_of_name(name) for name in moved} == parts
    assert all(p.grad is None for n, p in model.named_parameters() if part_of_name(n) not in parts)
    if "memory" in parts:
        for name in ("memory_attention.", "memory_encoder.", "maskmem_tpos_enc", "obj_ptr_proj."):
            assert any(n.startswith(name) for n in moved), name


def test_frozen_parts_leave_no_graph_behind(settings: Settings, toy: Path, clips: Path) -> None:
    """Of the encoder and of memory nothing is saved for a backward pass: no bytes, not few."""
    saved: dict[str, int] = {}

    def watch(model: SAM2, preset: str) -> dict[str, int]:
        saved.clear()
        inside: list[str] = []

        def pack(tensor: Tensor) -> Tensor:
            for name in inside[-1:]:
                saved[name] = saved.get(name, 0) + tensor.nbytes
            return tensor

        for name in ("image_encoder", "memory_attention", "memory_encoder", "sam_mask_decoder"):
            module = getattr(model, name)
            module.register_forward_pre_hook(lambda *_, name=name: inside.append(name))
            module.register_forward_hook(lambda *_: inside.pop() and None)
        chosen = on_clips(settings, clips, f"preset={preset}", "preset.checkpointing=false")
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            forward(model, chosen, Plan("click", (1,), 1))
        return dict(saved)

    decoder, memory = watch(network(toy), "decoder"), watch(network(toy), "decoder+memory")
    full = watch(network(toy), "full")
    assert set(decoder) == {"sam_mask_decoder"} and decoder["sam_mask_decoder"] > 0
    assert set(memory) == {"sam_mask_decoder", "memory_attention", "memory_encoder"}
    assert set(full) == {*memory, "image_encoder"}


def test_memory_without_a_gradient_holds_no_graph(settings: Settings, toy: Path, clips: Path) -> None:
    model = network(toy)
    step = Pass(model, prepare(model, Preset("decoder", ("decoder",)), 0), on_clips(settings, clips))
    features = step.encode(torch.randn(1, 3, 64, 64))
    assert not features.coarse.requires_grad and not any(part.requires_grad for part in features.fine)
    pixels = model.attend_memory(features, Recall())
    prediction = step._answer(pixels, features, _nothing(), asked=False)
    assert prediction.pointer.requires_grad
    memory = step._remember(features, prediction, False)
    assert not memory.pointer.requires_grad and not memory.features.requires_grad
    assert remember(model, features, prediction, prompted=False).pointer.requires_grad, "the guard does it"


def _nothing() -> object:
    from sam2_video.model.sam2 import no_prompt

    return no_prompt(1, torch.device("cpu"))


def test_checkpointing_changes_no_gradient(settings: Settings, toy: Path, clips: Path) -> None:
    found = []
    for flag in ("false", "true"):
        model = network(toy)
        chosen = on_clips(settings, clips, "preset=full", f"preset.checkpointing={flag}")
        _, loss = forward(model, chosen, Plan("box", (1,), 1))
        held = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal held
            held += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            forward(network(toy), chosen, Plan("box", (1,), 1))
        loss.backward()
        found.append(({n: p.grad for n, p in model.named_parameters()}, held))
    (plain, much), (again, less) = found
    assert less < 0.7 * much
    for name, gradient in plain.items():
        assert (gradient is None) == (again[name] is None), name
        assert gradient is None or torch.allclose(gradient, again[name], atol=1e-6), name


def test_adapters_leave_every_weight_and_merge_exactly(toy: Path) -> None:
    model, base = network(toy), network(toy)
    add_adapters(model, LORA, 0)
    assert trained_weights(model) and all(".lora_" in name for name in trained_weights(model))
    with torch.no_grad():
        for value in trained_weights(model).values():
            value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(1)) / 4)
    merged = network(toy)
    merged.load_state_dict(merged_state(model))
    same = {n for n, v in base.state_dict().items() if torch.equal(v, merged.state_dict()[n])}
    differ = set(base.state_dict()) - same
    assert differ and all(name.endswith(("qkv.weight", "proj.weight")) for name in differ)
    pixels = torch.randn(1, 3, 64, 64)
    results = []
    with torch.no_grad():
        for one in (base, model.eval(), merged):
            features = one.encode_image(pixels)
            results.append(one.decode(one.attend_memory(features, Recall()), features.fine).logits)
    assert float((results[0] - results[1]).abs().max()) > 1e-3, "adapters change the answer"
    assert float((results[1] - results[2]).abs().max()) < 1e-5


def test_a_run_with_adapters_changes_their_layers_alone(
    settings: Settings, toy: Path, tmp_path: Path
) -> None:
    run = settings("preset=lora", "preset.lora.rank=2", "preset.lora.targets=[decoder]", "schedule.epochs=1")
    finetune(run, tmp_path)
    base, tuned = load_model(toy).state_dict(), load_model(tmp_path / "last.safetensors").state_dict()
    differ = {name for name, value in base.items() if not torch.equal(value, tuned[name])}
    assert differ and all(n.startswith("sam_mask_decoder.transformer") for n in differ)
    assert all(n.endswith("proj.weight") for n in differ)


@pytest.mark.parametrize(
    ("targets", "word"),
    [
        (("encodr",), "means no linear layer"),
        ((r"memory_attention\..+v_proj",), "can have no adapter"),
        ((r".+mlp\.layers\.0",), "can have no adapter"),
    ],
)
def test_layers_that_no_adapter_fits_are_refused(targets: tuple[str, ...], word: str, toy: Path) -> None:
    with pytest.raises(ConfigError, match=word):
        add_adapters(network(toy), LoraSettings(targets=targets), 0)


def test_frozen_says_what_stands_still(toy: Path) -> None:
    assert prepare(network(toy), Preset("decoder", ("decoder",)), 0) == Frozen(True, True)
    assert prepare(network(toy), Preset("decoder+memory", ("decoder", "memory")), 0) == Frozen(True, False)
    # A gradient for the encoder's adapters comes through memory, which is not trained itself.
    assert prepare(network(toy), Preset("lora", (), LORA), 0) == Frozen(False, False)
    only = Preset("lora", (), LoraSettings(targets=("decoder",)))
    assert prepare(network(toy), only, 0) == Frozen(True, True)
