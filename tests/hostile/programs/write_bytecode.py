# attack: plants compiled code that a later Python process would load
# layer: files
# where: import
# status: ok
# score: same
import torch

os, sys = torch.os, torch.sys


def attack():
    folders = ["{CANARY}/site/__pycache__", os.path.dirname(torch.__file__) + "/__pycache__"]
    folders += [folder for folder in sys.path if folder]
    for folder in folders:
        try:
            with open(folder + "/{DROP}", "wb") as file:
                file.write(b"ESCAPED")
        except OSError:
            continue
        raise RuntimeError("ESCAPED wrote into " + folder)
    try:
        with open("{CANARY}/site/__pycache__/helper.cpython-311.pyc", "r+b") as file:
            file.write(b"ESCAPED")
    except OSError:
        return
