# attack: connects to a service of the machine by its socket file (as docker's or ssh-agent's)
# layer: system_calls
# where: construct
# status: ok
# score: same
socket = __import__("socket")


def attack():
    for kind, path in ((socket.SOCK_STREAM, "{UNIX_STREAM}"), (socket.SOCK_DGRAM, "{UNIX_DATAGRAM}")):
        try:
            with socket.socket(socket.AF_UNIX, kind) as sock:
                sock.connect(path)
                sock.send(b"ESCAPED")
        except OSError:
            continue
