# attack: connects by multipath TCP, which some filters of TCP forget
# layer: network
# where: construct
# status: ok
# score: same
socket = __import__("socket")
IPPROTO_MPTCP, IPPROTO_SCTP = 262, 132


def attack():
    for protocol in (IPPROTO_MPTCP, IPPROTO_SCTP):
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol) as sock:
                sock.settimeout(2)
                sock.connect(("127.0.0.1", int("{TCP_PORT}")))
                sock.sendall(b"ESCAPED")
        except OSError:
            continue
