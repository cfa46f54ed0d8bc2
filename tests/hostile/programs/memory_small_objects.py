# attack: fills memory with small Python objects (here at most three times its limit)
# layer: limits
# where: construct
# status: out_of_memory
# score: none
def attack():
    held = []
    for _ in range(3 * int("{MEMORY_BYTES}") // (1 << 20)):
        held.append([bytes(1000) for _ in range(1000)])
    raise RuntimeError("ESCAPED " + str(len(held)) + " MB")
