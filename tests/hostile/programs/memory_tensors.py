# attack: fills memory with tensors (here at most three times its limit)
# layer: limits
# where: forward
# status: out_of_memory
# score: none
import torch


def attack():
    held = []
    for _ in range(3 * int("{MEMORY_BYTES}") // (64 << 20)):
        held.append(torch.ones(16 << 20))
    raise RuntimeError("ESCAPED " + str(len(held)) + " tensors")
