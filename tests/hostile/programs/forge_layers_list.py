# attack: says that each of its layers has a parameter a hundred thousand times, and some that there are not
# layer: protocol
# where: construct
# status: crashed
# score: none
json = __import__("json")
plain = json.dumps


def lie(value, **kwargs):
    if "trained" in value:
        value = {**value, "layers": [[0] * 100_000 + [-1, 2**70]] * len(value["layers"])}
    return plain(value, **kwargs)


def attack():
    json.dumps = lie
