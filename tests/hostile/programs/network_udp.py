# attack: sends datagrams over IPv4 and IPv6, to one host and to all
# layer: network
# where: forward
# status: ok
# score: same
socket = __import__("socket")


def attack():
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "255.255.255.255"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                sock.sendto(b"ESCAPED", (host, int("{UDP_PORT}")))
        except OSError:
            continue
