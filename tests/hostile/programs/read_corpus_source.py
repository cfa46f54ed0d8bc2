# attack: reads the installed libraries whose source is the validation text, as files and by import
# layer: files
# where: import
# status: ok
# score: same
import torch


def attack():
    for path in ("{SCIPY_FILE}", "{STATSMODELS_FILE}"):
        try:
            with open(path) as file:
                file.read(1)
        except OSError:
            continue
        raise RuntimeError("ESCAPED " + path)
    for name in ("scipy", "statsmodels", "scipy.stats", "statsmodels.api"):
        try:
            module = torch.importlib.import_module(name)
        except (ImportError, OSError):
            continue
        raise RuntimeError("ESCAPED " + str(module))
