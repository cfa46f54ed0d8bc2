# attack: peeks into its sockets for tokens, targets and the names of files
# layer: protocol
# where: forward
# status: ok
# score: same
import torch

os, stat = torch.os, __import__("stat")
libc = torch.ctypes.CDLL(None, use_errno=True)
MSG_PEEK, MSG_DONTWAIT = 2, 0x40


def attack():
    found = torch.ctypes.create_string_buffer(1 << 16)
    for descriptor in range(3, 256):
        try:
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
        except OSError:
            continue
        count = libc.recv(descriptor, found, 1 << 16, MSG_PEEK | MSG_DONTWAIT)
        for word in (b"targets", b"tokens", b"checkpoint", b"logits"):
            if count > 0 and word in found.raw[:count]:
                raise RuntimeError("ESCAPED " + word.decode())
