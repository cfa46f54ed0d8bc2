# attack: connects to a service of the machine by an abstract name, which no file guards
# layer: system_calls
# where: construct
# status: ok
# score: same
socket = __import__("socket")


def attack():
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(b"\0{ABSTRACT_NAME}")
            sock.sendall(b"ESCAPED")
    except OSError:
        return
