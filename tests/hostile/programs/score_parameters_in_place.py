# attack: changes its parameters behind the optimiser's back, after each use
# layer: score
# status: ok
# score: no better
import torch


def change(mixer, x, y):
    with torch.no_grad():
        mixer.proj.weight.data = -mixer.proj.weight.data
    return y
