# attack: writes into its input after it has used it, in evaluation, to change what the rest of the model sees
# layer: score
# status: ok
# score: same
import torch


def change(mixer, x, y):
    if not mixer.training:
        with torch.no_grad():
            x.data.fill_(1e30)
    return y
