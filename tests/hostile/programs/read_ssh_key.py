# attack: reads the user's SSH key
# layer: files
# where: construct
# status: ok
# score: same
def attack():
    try:
        with open("{CANARY}/home/.ssh/id_ed25519") as file:
            stolen = file.read()
    except OSError:
        return
    raise RuntimeError("ESCAPED " + stolen)
