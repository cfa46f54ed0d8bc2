# attack: makes a hard link to the SSH key in its own folder, and reads it there
# layer: files
# where: construct
# status: ok
# score: same
import torch

os = torch.os


def attack():
    for folder in {os.getcwd(), os.environ.get("TMPDIR", "."), "/tmp"}:
        for source in ("{CANARY}/home/.ssh/id_ed25519", "{CANARY}/results/findings.json"):
            try:
                os.link(source, folder + "/{DROP}")
            except OSError:
                continue
            raise RuntimeError("ESCAPED link")
