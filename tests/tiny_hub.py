"""Models of `transformers` as a hub would give them, in folders: the real classes, tiny, with random weights.

Their vocabularies are made here too. Nothing is fetched, and torchvision is not needed: pictures are prepared
by the classes that use Pillow, which `transformers` chooses by itself where torchvision is not installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def save_grounding_dino(folder: Path) -> str:
    """Write a detector that knows the letters of BERT's alphabet, a dot and five words. Return its name."""
    from transformers import (
        BertConfig,
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoProcessor,
        SwinConfig,
    )
    from transformers import GroundingDinoForObjectDetection as Model
    from transformers.models.grounding_dino.image_processing_pil_grounding_dino import (
        GroundingDinoImageProcessorPil,
    )

    folder.mkdir()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, ".", *LETTERS, *(f"##{letter}" for letter in LETTERS), "red", "ball", "cat"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    small: dict[str, Any] = {"num_attention_heads": 2, "intermediate_size": 16}
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=64,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            out_indices=[2, 3, 4],
        ),
        text_config=BertConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=1, **small),
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=8,
    )
    pictures = GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96})
    processor = GroundingDinoProcessor(pictures, BertTokenizer(str(folder / "vocab.txt")))
    return _save(Model, config, processor, folder)


def save_owlv2(folder: Path) -> str:
    """Write a detector that spells words by CLIP's letters. Return its name."""
    from transformers import CLIPTokenizer, Owlv2Config, Owlv2Processor
    from transformers import Owlv2ForObjectDetection as Model
    from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil

    words = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    first, last = len(words) - 2, len(words) - 1
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": first, "eos_token_id": last, "pad_token_id": last}
    config = Owlv2Config(
        text_config={"vocab_size": len(words), **small, **ends},
        vision_config={"image_size": 32, "patch_size": 8, **small},
        projection_dim=16,
    )
    tokenizer = CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[])
    pictures = Owlv2ImageProcessorPil(size={"height": 32, "width": 32})
    return _save(Model, config, Owlv2Processor(pictures, tokenizer), folder)


def save_dpt(folder: Path) -> str:
    """Write a model of relative depth. Return its name."""
    from transformers import DPTConfig
    from transformers import DPTForDepthEstimation as Model
    from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

    config = DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
    )
    return _save(Model, config, DPTImageProcessorPil(size={"height": 32, "width": 32}), folder, gain=0.2)


def save_depth_anything(folder: Path) -> str:
    """Write a model of depth in metres, up to 20. Return its name."""
    from transformers import DepthAnythingConfig
    from transformers import DepthAnythingForDepthEstimation as Model
    from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

    backbone = {
        "model_type": "dinov2",
        "hidden_size": 16,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
        "reshape_hidden_states": False,
    }
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=8,
        depth_estimation_type="metric",
        max_depth=20,
    )
    pictures = DPTImageProcessorPil(
        size={"height": 42, "width": 42}, keep_aspect_ratio=True, ensure_multiple_of=14
    )
    return _save(Model, config, pictures, folder, gain=0.2)


def _save(model_class: Any, config: Any, processor: Any, folder: Path, gain: float = 0.0) -> str:
    """Make and write a model, the same every time. `gain`: of weights, where the usual ones say nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = model_class(config)
        if gain:
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.dim() > 1:
                        parameter.normal_(0, gain)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)
