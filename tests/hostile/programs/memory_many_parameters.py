# attack: declares a hundred thousand parameters with long names
# layer: watchdog
# where: construct
# status: timed_out
# score: none
import torch


class Mixer(torch.nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx):
        super().__init__()
        self.proj = torch.nn.Linear(hidden_size, hidden_size, bias=False)
        for number in range(100_000):
            self.register_parameter(str(number) + "x" * 100, torch.nn.Parameter(torch.zeros(1)))

    def forward(self, x):
        return self.proj(x)
