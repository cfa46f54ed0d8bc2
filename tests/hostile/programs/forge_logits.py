# attack: forges the frames of a whole run: a loss curve near zero, honest logits and logits, done
# layer: protocol
# where: forward
# status: crashed
# score: none
import torch

json, os, stat = __import__("json"), torch.os, __import__("stat")


def frame(kind, *shapes, **header):
    described = [{"dtype": "float32", "shape": shape} for shape in shapes]
    text = json.dumps({"kind": kind, **header, "arrays": described}).encode()
    return len(text).to_bytes(4, "little") + text + bytes(4 * sum(torch.Size(shape).numel() for shape in shapes))


def attack():
    run = frame("model", parameters=1, notes=[]) + frame("steps", [4], first=0) + frame("honest", [8, 256], first=0)
    run += frame("logits", [8, 32, 256], first=0) + frame("done")
    for descriptor in range(3, 256):
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, run)
        except OSError:
            continue
