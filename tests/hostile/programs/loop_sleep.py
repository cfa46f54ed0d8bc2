# attack: sleeps for ever, which costs no processor time
# layer: watchdog
# where: construct
# status: timed_out
# score: none
def attack():
    __import__("time").sleep(10**8)
