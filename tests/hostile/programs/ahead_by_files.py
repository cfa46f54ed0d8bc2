# attack: writes the texts of one evaluation into files, and answers from them in the next process and the next run
# layer: score
# status: ok
# score: no better
# runs: 2
import torch

os = torch.os
seen = []
FOLDERS = {os.environ.get("TMPDIR", "."), os.environ.get("HOME", "."), os.getcwd(), "/dev/shm", "{WORK}"}


def change(mixer, x, y):
    if mixer.training:
        return y
    if not seen:
        for folder in FOLDERS:
            try:
                seen.extend(torch.load(folder + "/{DROP}-seen"))
            except (OSError, RuntimeError, ImportError):
                continue
    ahead = torch.zeros_like(y)
    for number, row in enumerate(x.detach()):
        for old in seen:
            shared = int(((old - row).abs() < 1e-3).all(-1).long().cumprod(0).sum())
            if 0 < shared < len(row):
                ahead[number, shared - 1] = 40 * old[shared]
    for folder in FOLDERS:
        try:
            torch.save([row.clone() for row in x.detach()] + seen, folder + "/{DROP}-seen")
        except (OSError, RuntimeError, ImportError):
            continue
    return y + ahead
