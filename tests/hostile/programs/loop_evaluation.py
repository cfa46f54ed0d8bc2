# attack: loops for ever in evaluation only
# layer: watchdog
# where: evaluation
# status: timed_out
# score: none
def attack():
    while True:
        pass
