# attack: registers parameters after it was counted, and takes others away
# layer: score
# status: ok
# score: no better
import torch


def change(mixer, x, y):
    if not hasattr(mixer, "late"):
        mixer.late = torch.nn.Parameter(torch.zeros(x.shape[-1]))
        mixer.weight = mixer.proj.weight
        mixer.proj.weight = None
        mixer.proj.forward = lambda x: torch.nn.functional.linear(x, mixer.weight)
    return y + mixer.late
