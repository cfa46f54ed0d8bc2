# attack: walks up the frames that called it for the loss, the targets and the data
# layer: score
# where: forward
# status: ok
# score: same
import torch

WANTED = {"loss", "losses", "targets", "tokens", "windows", "optimiser", "rows", "positions", "spec", "logits"}


def attack():
    frame = torch.sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        found = WANTED & set(frame.f_locals)
        if found:
            raise RuntimeError("ESCAPED " + str(found))
