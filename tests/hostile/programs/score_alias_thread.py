# attack: overwrites its outputs from a thread, a moment after it returned them
# layer: score
# status: ok
# score: same
import torch


def change(mixer, x, y):
    if not mixer.training:
        torch.threading.Timer(0.3, lambda: y.data.fill_(float("nan"))).start()
    return y
