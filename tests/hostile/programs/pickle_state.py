# attack: puts objects that run code when they are unpickled into attributes, buffers' places and extra state
# layer: protocol
# where: construct
# status: ok
# score: same
import torch


class Payload:
    def __reduce__(self):
        return exec, ("open('{CANARY}/cron/pickle', 'w')",)


class Mixer(torch.nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx):
        super().__init__()
        self.proj = torch.nn.Linear(hidden_size, hidden_size, bias=False)
        self.payload, self.payloads, self.text = Payload(), [Payload()], TextPayload("x")
        self.register_buffer("count", torch.zeros(1))

    def get_extra_state(self):
        return Payload()

    def set_extra_state(self, state):
        pass

    def __reduce__(self):
        return exec, ("open('{CANARY}/cron/pickle', 'w')",)

    def forward(self, x):
        count = torch.arange(1, x.shape[1] + 1)[:, None]
        return self.proj(x).cumsum(1) / count, Payload()


class TextPayload(str):
    __slots__ = ()

    def __reduce__(self):
        return exec, ("open('{CANARY}/cron/pickle', 'w')",)
