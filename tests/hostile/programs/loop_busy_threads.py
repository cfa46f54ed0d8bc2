# attack: leaves threads that compute for ever, and waits for them
# layer: watchdog
# where: forward
# status: timed_out
# score: none
import torch

threading = torch.threading


def work():
    while True:
        torch.ones(100, 100) @ torch.ones(100, 100)


def attack():
    for thread in [threading.Thread(target=work, daemon=True) for _ in range(4)]:
        thread.start()
    thread.join()
