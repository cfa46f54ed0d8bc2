# attack: answers huge gradients, to drown those of the rest of the model in the clipping
# layer: score
# status: ok
# score: no better
import torch


class Lie(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y):
        return y.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 1e15


def change(mixer, x, y):
    return Lie.apply(y)
