"""Programs that are the same but for their names."""

from __future__ import annotations

import pytest

from replication.fingerprint import fingerprint

PROGRAM = '''
"""A mixer."""
import torch
from torch import nn
from torch.nn import functional as F


class Mixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx):
        super().__init__()
        self.proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, x):
        return F.silu(self.proj(x))
'''


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("proj", "projection"),
        lambda text: text.replace('"""A mixer."""', '"""Another text."""'),
        lambda text: text.replace("return F", "\n        # a comment\n        return F"),
        lambda text: text.replace("hidden_size", "width"),
    ],
)
def test_names_layout_and_docstrings_make_no_new_program(change):
    assert change(PROGRAM) != PROGRAM
    assert fingerprint(change(PROGRAM)) == fingerprint(PROGRAM)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("F.silu", "F.gelu"),
        lambda text: text.replace("hidden_size)\n\n", "hidden_size, bias=False)\n\n"),
        lambda text: text.replace("self.proj(x))", "self.proj(x) + x)"),
        lambda text: text.replace("functional as F", "init as F"),
    ],
)
def test_another_function_or_constant_makes_a_new_program(change):
    assert change(PROGRAM) != PROGRAM
    assert fingerprint(change(PROGRAM)) != fingerprint(PROGRAM)


def test_a_text_that_does_not_parse_has_no_fingerprint():
    assert fingerprint("def (") is None
