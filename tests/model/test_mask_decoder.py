"""The decoder's verdicts are reckoned in float32."""

from __future__ import annotations

import torch

from sam2_video.model.layers import MLP
from sam2_video.model.mask_decoder import in_float32
from tests.model.conftest import Draw


@torch.no_grad()
def test_small_networks_that_decide_are_reckoned_in_float32(draw: Draw) -> None:
    head, x = MLP((8, 8, 4)), draw(3, 8)
    assert torch.equal(in_float32(head, x), head(x))
    rounded = MLP((8, 8, 4)).to(torch.bfloat16)
    rounded.load_state_dict(head.state_dict())
    found = in_float32(rounded, x.to(torch.bfloat16))
    exact = MLP((8, 8, 4))
    exact.load_state_dict({name: value.float() for name, value in rounded.state_dict().items()})
    torch.testing.assert_close(found, exact(x.to(torch.bfloat16).float()), rtol=1e-6, atol=1e-6)
    assert found.dtype == torch.float32 and not torch.equal(found, found.bfloat16().float())
