# attack: answers gradients that are not numbers
# layer: score
# status: diverged
# score: none
import torch


class Lie(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y):
        return y.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("nan")


def change(mixer, x, y):
    return Lie.apply(y)
