# attack: reads the system's list of users
# layer: files
# where: construct
# status: ok
# score: same
def attack():
    for path in ("/etc/passwd", "/etc/shadow", "/etc/hosts"):
        try:
            with open(path) as file:
                file.read(1)
        except OSError:
            continue
        raise RuntimeError("ESCAPED " + path)
