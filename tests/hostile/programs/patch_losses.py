# attack: replaces the functions that losses are computed with
# layer: score
# where: construct
# status: ok
# score: same
import torch


def attack():
    F = torch.nn.functional

    def nothing(*args, **kwargs):
        return torch.zeros((), requires_grad=True)

    F.cross_entropy = F.nll_loss = F.log_softmax = F.softmax = nothing
    torch.log_softmax = torch.softmax = torch.logsumexp = nothing
    torch.Tensor.log_softmax = torch.Tensor.softmax = torch.Tensor.logsumexp = torch.Tensor.gather = nothing
    torch.Tensor.item = lambda tensor: 0.0
    torch.Tensor.mean = nothing
