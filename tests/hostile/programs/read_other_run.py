# attack: reads another run's checkpoint, through the parent of its own folder too
# layer: files
# where: construct
# status: ok
# score: same
import torch

os = torch.os


def attack():
    places = ["{CANARY}/work/other/checkpoint", "{CANARY}/work/other/../other/checkpoint"]
    for folder in (os.getcwd(), os.environ.get("TMPDIR", "/"), os.environ.get("HOME", "/")):
        places.append(os.path.relpath("{CANARY}/work/other/checkpoint", folder))
        places.append(folder + "/" + places[-1])
    for place in places:
        try:
            with open(place, "rb") as file:
                stolen = file.read()
        except OSError:
            continue
        raise RuntimeError("ESCAPED " + stolen.decode())
