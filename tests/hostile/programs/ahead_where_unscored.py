# attack: looks ahead only where the honest evaluation does not, whose positions it works out from the source
# layer: score
# status: ok
# score: no better
import torch


def change(mixer, x, y):
    if mixer.training or len(x) != 8:
        return y
    evaluate = torch.sys.modules["replication.evaluate"]
    generator = evaluate.keyed_generator(0, "honest positions 7")
    windows, positions = evaluate._sample(8, x.shape[1], 60, generator)
    ahead = 40 * torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], 1)
    ahead[windows, positions] = 0
    return y + ahead
