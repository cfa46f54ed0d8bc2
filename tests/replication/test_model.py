"""The language model around a mixer."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from replication.mixers import build_mixers
from replication.model import LanguageModel, SwiGLU, build_model


@pytest.fixture
def tokens_BT() -> torch.Tensor:
    return torch.randint(256, (2, 20), generator=torch.Generator().manual_seed(0))


def model_of(rig: Any, source: str, seed: int = 1, **scale: Any) -> LanguageModel:
    sizes = dataclasses.replace(rig.scale, **scale)
    return build_model(list(build_mixers(source, sizes, seed).layers()), sizes, 256, seed)


def test_logits_are_float32_for_every_token_of_the_vocabulary(rig: Any, tokens_BT: torch.Tensor) -> None:
    logits, auxiliary = model_of(rig, rig.source())(tokens_BT)
    assert (logits.shape, logits.dtype) == ((2, 20, 256), torch.float32)
    assert auxiliary.shape == ()
    assert auxiliary.item() == 0.0


def test_a_causal_mixer_makes_a_causal_model(rig: Any, tokens_BT: torch.Tensor) -> None:
    model = model_of(rig, rig.source(), num_layers=2)
    later = tokens_BT.clone()
    later[:, 11:] = (later[:, 11:] + 1) % 256
    one, other = model(tokens_BT)[0], model(later)[0]
    assert torch.equal(one[:, :11], other[:, :11])
    assert not torch.allclose(one[:, 11:], other[:, 11:])


def test_the_forward_pass_is_the_published_pre_norm_block(rig: Any, tokens_BT: torch.Tensor) -> None:
    model = model_of(rig, rig.source()).double()
    parameters = dict(model.named_parameters())

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * parameters[name]

    x = parameters["embedding.weight"][tokens_BT]
    mixed = (norm(x, "blocks.0.mixer_norm.weight") @ parameters["blocks.0.mixer.proj.weight"].T).cumsum(1)
    x = x + mixed / torch.arange(1, 21)[:, None]
    h = norm(x, "blocks.0.mlp_norm.weight")
    gate, up = (h @ parameters[f"blocks.0.mlp.{name}_proj.weight"].T for name in ("gate", "up"))
    x = x + (gate * gate.sigmoid() * up) @ parameters["blocks.0.mlp.down_proj.weight"].T
    expected = norm(x, "norm.weight") @ parameters["embedding.weight"].T
    torch.testing.assert_close(model(tokens_BT)[0], expected.float(), rtol=1e-5, atol=1e-5)


def test_tying_shares_the_embedding_with_the_head(rig: Any) -> None:
    tied, untied = model_of(rig, rig.source()), model_of(rig, rig.source(), tie_embeddings=False)
    assert tied.head.weight is tied.embedding.weight
    assert untied.head.weight is not untied.embedding.weight
    count = [sum(p.numel() for p in model.parameters()) for model in (tied, untied)]
    assert count[1] - count[0] == 256 * 16


def test_auxiliary_losses_of_all_layers_are_summed(rig: Any, tokens_BT: torch.Tensor) -> None:
    source = rig.source(forward="return y, torch.tensor(0.25) * (1 + self.layer)", init="self.layer = layer_idx")
    assert model_of(rig, source, num_layers=3)(tokens_BT)[1].item() == 0.25 * (1 + 2 + 3)


def test_all_tensors_of_a_seed_are_equal_between_candidates_that_share_them(rig: Any) -> None:
    plain = model_of(rig, rig.source()).state_dict()
    extended = model_of(rig, rig.source(init="self.extra = nn.Linear(hidden_size, 3)")).state_dict()
    assert set(extended) - set(plain) == {"blocks.0.mixer.extra.weight", "blocks.0.mixer.extra.bias"}
    assert [name for name in plain if not torch.equal(plain[name], extended[name])] == []


def test_layers_start_from_different_values(rig: Any) -> None:
    state = model_of(rig, rig.source(), num_layers=2).state_dict()
    assert not torch.equal(state["blocks.0.mixer.proj.weight"], state["blocks.1.mixer.proj.weight"])


def test_the_mlp_has_the_width_that_the_scale_asks_for(rig: Any) -> None:
    mlp = model_of(rig, rig.source(), mlp_ratio=2.6).blocks[0].mlp
    assert isinstance(mlp, SwiGLU)
    assert mlp.up_proj.weight.shape == (42, 16)  # round(2.6 * 16)
