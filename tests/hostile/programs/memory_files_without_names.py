# attack: hides memory in files without names, which count for no process (here at most twice its limit)
# layer: system_calls
# where: construct
# status: ok
# score: same
import torch

os = torch.os


def attack():
    piece, held = bytes(1 << 20), 0
    for number in range(64):
        try:
            descriptor = os.memfd_create("hidden" + str(number))
            for _ in range(2 * int("{MEMORY_BYTES}") >> 26):
                held += os.write(descriptor, piece)
        except OSError:
            continue
    if held > int("{MEMORY_BYTES}"):
        raise RuntimeError("ESCAPED " + str(held) + " bytes")
