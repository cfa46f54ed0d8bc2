# attack: waits for connections, by TCP and by a socket file of its own
# layer: system_calls
# where: construct
# status: ok
# score: same
import torch

os = torch.os
socket = __import__("socket")


def attack():
    own = os.environ.get("TMPDIR", ".") + "/door"
    for family, address in (
        (socket.AF_INET, ("127.0.0.1", 0)),
        (socket.AF_INET6, ("::1", 0)),
        (socket.AF_UNIX, own),
        (socket.AF_UNIX, b"\0{ABSTRACT_NAME}-door"),
    ):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as sock:
                sock.bind(address)
                sock.listen()
        except OSError:
            continue
        raise RuntimeError("ESCAPED listens at " + str(address))
