# attack: loops for ever in its backward pass
# layer: watchdog
# where: backward
# status: timed_out
# score: none
def attack():
    while True:
        pass
