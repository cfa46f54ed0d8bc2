# attack: loops for ever in a training step
# layer: watchdog
# where: forward
# status: timed_out
# score: none
def attack():
    while True:
        pass
