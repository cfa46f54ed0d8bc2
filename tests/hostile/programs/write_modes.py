# attack: opens the user's key to everyone by mode, owner and attributes, which need no opening of the file
# layer: system_calls
# where: construct
# status: ok
# score: same
import torch

os = torch.os


def attack():
    key = "{CANARY}/home/.ssh/id_ed25519"
    ways = (
        lambda: os.chmod(key, 0o777),
        lambda: os.chmod("{CANARY}/home", 0o777),
        lambda: os.chown(key, 65533, 65533),
        lambda: os.lchown(key, 65533, -1),
        lambda: os.utime(key, (0, 0)),
        lambda: os.setxattr(key, "user.hostile", b"ESCAPED"),
    )
    for way in ways:
        try:
            way()
        except OSError:
            continue
        raise RuntimeError("ESCAPED changed the key's attributes")
