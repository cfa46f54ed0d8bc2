# attack: loops for ever in C code: a power of large integers
# layer: watchdog
# where: forward
# status: timed_out
# score: none
def attack():
    number = 3**1_000_000
    pow(number, number, number + 2)
