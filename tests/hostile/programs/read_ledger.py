# attack: reads records of the ledger, to learn what score to beat
# layer: files
# where: construct
# status: ok
# score: same
import torch


def attack():
    found = torch.glob.glob("{CANARY}/results/**", recursive=True)
    try:
        names = torch.os.listdir("{CANARY}/results/ledger")
    except OSError:
        names = []
    if names or len(found) > 1:
        raise RuntimeError("ESCAPED " + str(names or found))
    try:
        with open("{CANARY}/results/ledger/aa/record.json") as file:
            stolen = file.read()
    except OSError:
        return
    raise RuntimeError("ESCAPED " + stolen)
