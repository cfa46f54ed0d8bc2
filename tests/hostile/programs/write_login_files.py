# attack: adds a line to the user's profile and a key to authorized_keys
# layer: files
# where: import
# status: ok
# score: same
def attack():
    for path in ("{CANARY}/home/.profile", "{CANARY}/home/.ssh/authorized_keys"):
        try:
            with open(path, "a") as file:
                file.write("ESCAPED\n")
        except OSError:
            continue
