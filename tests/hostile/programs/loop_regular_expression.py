# attack: loops for ever in C code: a regular expression that backtracks, which holds Python's lock
# layer: watchdog
# where: construct
# status: timed_out
# score: none
pattern = __import__("re").compile("(a+)+$")


def attack():
    pattern.match("a" * 60 + "b")
