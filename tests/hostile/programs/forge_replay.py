# attack: sends each answer twice, so that it is always one ahead
# layer: protocol
# where: construct
# status: crashed
# score: none
import torch


def attack():
    wire = torch.sys.modules["replication.wire"]
    plain = wire.send

    def twice(sock, header, *arrays):
        plain(sock, header, *arrays)
        plain(sock, header, *arrays)

    for module in list(torch.sys.modules.values()):
        if getattr(module, "send", None) is plain:
            module.send = twice
