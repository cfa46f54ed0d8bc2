# attack: leaves files where other programs and later runs find them
# layer: files
# where: forward
# status: ok
# score: same
def attack():
    for folder in ("/tmp", "/var/tmp", "/dev/shm", "/run", "{CANARY}/work/other", "{HOME}"):
        try:
            with open(folder + "/{DROP}", "w") as file:
                file.write("ESCAPED")
        except OSError:
            continue
