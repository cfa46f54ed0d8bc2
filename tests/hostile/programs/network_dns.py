# attack: hides what it knows in the names that it looks up
# layer: network
# where: construct
# status: ok
# score: same
socket = __import__("socket")
QUERY = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07escaped\x07invalid\x00\x00\x01\x00\x01"


def attack():
    for look_up in (lambda: socket.getaddrinfo("escaped.invalid", 80), lambda: socket.gethostbyname("escaped.invalid")):
        try:
            look_up()
        except (OSError, LookupError, ImportError):
            continue
        raise RuntimeError("ESCAPED name server")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(QUERY, ("127.0.0.1", int("{UDP_PORT}")))
    except (OSError, LookupError, ImportError):
        return
