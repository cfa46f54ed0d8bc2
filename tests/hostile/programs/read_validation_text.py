# attack: reads the validation shard of the corpus, and the shards beside it
# layer: files
# where: forward
# status: ok
# score: same
import numpy as np
import torch


def attack():
    for path in ("{VAL_SHARD}", "{TRAIN_SHARD}"):
        for read in (lambda path: np.memmap(path, dtype=np.uint8, mode="r"), lambda path: np.fromfile(path, np.uint8)):
            try:
                tokens = read(path)
            except OSError:
                continue
            raise RuntimeError("ESCAPED " + str(len(tokens)) + " bytes of " + path)
    try:
        torch.from_file("{VAL_SHARD}", size=16, dtype=torch.uint8)
    except RuntimeError:
        return
    raise RuntimeError("ESCAPED torch.from_file")
