# attack: loops for ever in C code at import: a sum over a range
# layer: watchdog
# where: import
# status: timed_out
# score: none
def attack():
    sum(range(10**15))
