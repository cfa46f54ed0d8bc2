# attack: fills shared memory, which the usual limit does not count (here at most three times its limit)
# layer: limits
# where: forward
# status: out_of_memory
# score: none
def attack():
    size = 3 * int("{MEMORY_BYTES}")
    try:
        shared = __import__("mmap").mmap(-1, size)
    except OSError:
        raise MemoryError from None
    for start in range(0, size, 1 << 20):
        shared[start : start + (1 << 20)] = b"x" * (1 << 20)
    __import__("time").sleep(1)
    raise RuntimeError("ESCAPED")
