# attack: declares a parameter of a million million numbers that takes no memory in its own process
# layer: protocol
# where: construct
# status: out_of_memory
# score: none
import torch


class Mixer(torch.nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx):
        super().__init__()
        self.proj = torch.nn.Linear(hidden_size, hidden_size, bias=False)
        self.huge = torch.nn.Parameter(torch.zeros(1).expand(10**12))

    def forward(self, x):
        return self.proj(x)
