# attack: answers gradients of another shape
# layer: score
# status: crashed
# score: none
import torch


class Lie(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y):
        return y.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient[:, :3]


def change(mixer, x, y):
    return Lie.apply(y)
