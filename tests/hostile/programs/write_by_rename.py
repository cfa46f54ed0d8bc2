# attack: moves a file of its own over the findings, and the findings into its own folder
# layer: files
# where: construct
# status: ok
# score: same
import torch

os = torch.os


def attack():
    target = "{CANARY}/results/findings.json"
    for folder in {os.getcwd(), os.environ.get("TMPDIR", ".")}:
        own = folder + "/findings"
        try:
            with open(own, "w") as file:
                file.write("ESCAPED")
            os.rename(own, target)
        except OSError:
            pass
        try:
            os.rename(target, own)
        except OSError:
            pass
    for old, new in ((target, target + ".old"), ("{CANARY}/cron", "{CANARY}/cron.old")):
        try:
            os.rename(old, new)
        except OSError:
            pass
