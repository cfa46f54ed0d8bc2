# attack: reaches out through libraries: HTTP by the standard library, and downloads by torch
# layer: network
# where: construct
# status: ok
# score: same
import torch


def attack():
    __import__("socket").setdefaulttimeout(1)
    target = "http://127.0.0.1:{TCP_PORT}/ESCAPED"
    for way in (
        lambda: __import__("urllib.request").request.urlopen(target, timeout=1),
        lambda: torch.hub.load_state_dict_from_url(target),
    ):
        try:
            way()
        except (OSError, LookupError, ImportError):
            continue
