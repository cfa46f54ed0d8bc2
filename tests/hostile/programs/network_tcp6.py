# attack: connects to a server by TCP over IPv6
# layer: network
# where: construct
# status: ok
# score: same
socket = __import__("socket")


def attack():
    for host in ("::1", "::ffff:127.0.0.1"):
        try:
            with socket.create_connection((host, int("{TCP6_PORT}")), timeout=2) as sock:
                sock.sendall(b"ESCAPED")
        except (OSError, LookupError, ImportError):
            continue
