"""SAM 1 against `transformers`' implementation, at toy size, with the same random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import sam2_video
from sam2_video.checkpoint import load_model, load_weights, to_hub_layout
from sam2_video.image_predictor import ImagePredictor
from sam2_video.key_maps import from_hub_layout
from sam2_video.model.sam1 import SAM1

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

SIDE = 128
CLOSE = 2e-4
OVERRIDES = [
    f"image_size={SIDE}", "width=32", "model.image_encoder.embed_dim=24", "model.image_encoder.depth=3",
    "model.image_encoder.num_heads=2", "model.image_encoder.global_att_blocks=[1]",
    "model.image_encoder.window=3", "model.image_encoder.grid=8",
    "model.mask_decoder.transformer.heads=4", "model.mask_decoder.transformer.hidden=48",
]  # fmt: skip


def hub_model() -> Any:
    config = transformers.SamConfig(
        vision_config={
            "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": SIDE,
            "window_size": 3, "global_attn_indexes": [1], "output_channels": 32, "num_pos_feats": 16,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": SIDE},
        mask_decoder_config={
            "hidden_size": 32, "mlp_dim": 48, "num_attention_heads": 4, "iou_head_hidden_dim": 32,
        },
    )  # fmt: skip
    model = transformers.SamModel(config).eval()
    source = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            noise = torch.randn(value.shape, generator=source)
            if value.dim() > 1:
                value.copy_(0.5 * noise if "pos" in name else 1.5 * noise / value[0].numel() ** 0.5)
            else:
                value.copy_(0.1 * noise + float("norm" in name and name.endswith("weight")))
        matrix = model.prompt_encoder.shared_embedding.positional_embedding
        model.shared_image_embedding.positional_embedding.copy_(matrix)
    return model


Pair = tuple[SAM1, Any]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    theirs = hub_model()
    ours = sam2_video.build_model("sam_vit_b", OVERRIDES)
    assert isinstance(ours, SAM1)
    load_weights(ours, from_hub_layout(theirs.state_dict()), "transformers")
    yield ours.eval(), theirs


def picture(height: int = 96, width: int = 80) -> NDArray[np.uint8]:
    rng = np.random.default_rng(2)
    image = rng.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
    return np.ascontiguousarray(image.repeat(8, axis=0).repeat(8, axis=1))


def test_names_go_there_and_back(pair: Pair) -> None:
    ours, theirs = pair
    state, hub = ours.state_dict(), theirs.state_dict()
    there = to_hub_layout(state)
    assert set(there) == set(hub) and all(torch.equal(there[name], hub[name]) for name in hub)
    back = from_hub_layout(there)
    assert set(back) == set(state) and all(torch.equal(back[name], state[name]) for name in state)


def test_a_folder_of_theirs_is_loaded(pair: Pair, tmp_path: Any) -> None:
    """Sizes that no released model has are given; the size of the model frame is read from the folder."""
    _, theirs = pair
    theirs.save_pretrained(tmp_path)
    settings = [text for text in OVERRIDES if not text.startswith("image_size")]
    ours = load_model("sam_vit_b", checkpoint=tmp_path, overrides=settings)
    assert isinstance(ours, SAM1) and ours.image_size == SIDE
    assert torch.equal(ours.image_encoder.pos_embed, theirs.vision_encoder.pos_embed)


@torch.no_grad()
def test_features(pair: Pair) -> None:
    ours, theirs = pair
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    expected = theirs.get_image_embeddings(pixels)
    assert expected.std() > 0.1
    torch.testing.assert_close(ours.encode_image(pixels).coarse, expected, rtol=CLOSE, atol=CLOSE)


PROMPTS: dict[str, dict[str, Any]] = {
    "click": {"points": [[(30, 40)]], "labels": [[1]]},
    "clicks": {"points": [[(30, 40), (70.5, 9.25)]], "labels": [[1, 0]]},
    "box": {"boxes": [(10, 20, 50, 60)]},
    "boxes": {"boxes": [(10, 20, 50, 60), (0, 0, 79, 95), (5, 50, 60, 90)]},
    "box and clicks": {"boxes": [(10, 20, 50, 60)], "points": [[(30, 40), (48, 22)]], "labels": [[1, 0]]},
    "mask alone": {},
}


# Theirs gives one hint to all prompts of a picture; and something has to be said.
CASES = [
    *((name, False) for name in PROMPTS if name != "mask alone"),
    *((name, True) for name in PROMPTS if name != "boxes"),
]


@torch.no_grad()
@pytest.mark.parametrize("multimask", [True, False], ids=["three", "one"])
@pytest.mark.parametrize(("name", "hint"), CASES)
def test_whole_predictor(pair: Pair, name: str, hint: bool, multimask: bool) -> None:
    """From a picture and prompts in its pixels to masks at its size, through their processor and model."""
    ours, theirs = pair
    said = dict(PROMPTS[name])
    count = len(next(iter(said.values()), [None]))
    logits = 5 * torch.randn(1, 32, 32, generator=torch.Generator().manual_seed(1)) if hint else None

    image = picture()
    processor = transformers.SamProcessor(
        transformers.SamImageProcessorPil(
            size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE},
            mask_size={"longest_edge": 32}, mask_pad_size={"height": 32, "width": 32},
        )
    )  # fmt: skip
    inputs = processor(
        image,
        input_points=[[list(map(list, clicks)) for clicks in said["points"]]] if "points" in said else None,
        input_labels=[said["labels"]] if "labels" in said else None,
        input_boxes=[[list(map(float, box)) for box in said["boxes"]]] if "boxes" in said else None,
        return_tensors="pt",
    )
    sizes = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
    inputs = {key: value.float() if value.is_floating_point() else value for key, value in inputs.items()}
    found = theirs(**inputs, input_masks=None if logits is None else logits[None], multimask_output=multimask)
    (masks,) = processor.image_processor.post_process_masks(
        found.pred_masks, *sizes, pad_size={"height": SIDE, "width": SIDE}
    )

    predictor = ImagePredictor(ours)
    predictor.set_image(image)
    results = predictor.predict_many(
        **said, mask_logits=None if logits is None else [logits] * count, multimask=multimask
    )
    assert len(results) == count
    for row, result in enumerate(results):
        torch.testing.assert_close(result.logits, found.pred_masks[0, row], rtol=CLOSE, atol=CLOSE)
        torch.testing.assert_close(result.iou, found.iou_scores[0, row], rtol=CLOSE, atol=CLOSE)
        expected = masks[row].numpy()
        assert result.masks.shape == expected.shape == ((3 if multimask else 1), 96, 80)
        assert (result.masks != expected).mean() < 1e-3 and 0.02 < expected.mean() < 0.98
