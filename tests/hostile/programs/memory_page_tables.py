# attack: fills memory with the kernel's tables of pages that it only reads (here at most 1.2 times its limit)
# layer: watchdog
# where: construct
# status: out_of_memory
# score: none
mmap = __import__("mmap")
SPAN = 2 << 20  # bytes that one page of the table describes


def attack():
    tables = 6 * int("{MEMORY_BYTES}") // 5 // 4096
    try:
        space = mmap.mmap(-1, tables * SPAN, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ)
        space.madvise(mmap.MADV_NOHUGEPAGE)
    except OSError:
        raise MemoryError from None
    for start in range(0, tables * SPAN, SPAN):
        space[start]
    __import__("time").sleep(1)
    raise RuntimeError("ESCAPED " + str(tables) + " pages of tables")
