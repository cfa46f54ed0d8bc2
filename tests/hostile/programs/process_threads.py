# attack: starts threads without end (here at most 3000, gone after 20 s)
# layer: watchdog
# where: forward
# status: crashed
# score: none
import torch

threading, time = torch.threading, __import__("time")


def attack():
    threading.stack_size(1 << 16)
    for _ in range(3000):
        try:
            threading.Thread(target=time.sleep, args=(20,), daemon=True).start()
        except RuntimeError:
            raise RuntimeError("refused") from None
    time.sleep(2)
    raise RuntimeError("ESCAPED 3000 threads")
