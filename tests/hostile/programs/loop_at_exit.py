# attack: loops for ever when its process ends and when its objects are deleted
# layer: protocol
# where: construct
# status: ok
# score: same
import torch

held = []


class Sticky:
    def __del__(self):
        loop()


def loop():
    while True:
        pass


def attack():
    __import__("atexit").register(loop)
    torch.threading._register_atexit(loop)
    held.append(Sticky())
