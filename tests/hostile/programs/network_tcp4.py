# attack: connects to a server by TCP over IPv4
# layer: network
# where: construct
# status: ok
# score: same
socket = __import__("socket")


def attack():
    try:
        with socket.create_connection(("127.0.0.1", int("{TCP_PORT}")), timeout=2) as sock:
            sock.sendall(b"ESCAPED")
    except (OSError, LookupError, ImportError):
        return
