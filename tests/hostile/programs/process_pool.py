# attack: starts worker processes by multiprocessing and torch.multiprocessing
# layer: system_calls
# where: construct
# status: ok
# score: same
import torch

multiprocessing = __import__("multiprocessing")


def attack():
    for method in ("fork", "spawn", "forkserver"):
        try:
            process = multiprocessing.get_context(method).Process(target=int)
            process.start()
        except (OSError, EOFError, ImportError):
            continue
        raise RuntimeError("ESCAPED " + method)
    try:
        torch.multiprocessing.get_context("fork").Process(target=int).start()
    except (OSError, ImportError):
        return
    raise RuntimeError("ESCAPED torch.multiprocessing")
