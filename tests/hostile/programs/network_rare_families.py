# attack: makes raw, packet, netlink, vsock and other rare sockets
# layer: system_calls
# where: construct
# status: ok
# score: same
socket = __import__("socket")
NETLINK, PACKET, ALG, VSOCK, CAN, BLUETOOTH, KEY, TIPC, XDP = 16, 17, 38, 40, 29, 31, 15, 30, 44


def attack():
    for family in (socket.AF_INET, socket.AF_INET6, NETLINK, PACKET, ALG, VSOCK, CAN, BLUETOOTH, KEY, TIPC, XDP):
        for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
            try:
                sock = socket.socket(family, kind, 1 if kind == socket.SOCK_RAW else 0)
            except OSError:
                continue
            sock.close()
            raise RuntimeError("ESCAPED socket of family " + str(family))
