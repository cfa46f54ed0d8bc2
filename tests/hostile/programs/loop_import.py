# attack: loops for ever when it is imported
# layer: watchdog
# where: import
# status: timed_out
# score: none
def attack():
    while True:
        pass
