# attack: describes parameters whose sizes overflow every sum
# layer: protocol
# where: construct
# status: crashed
# score: none
json = __import__("json")
plain = json.dumps


def lie(value, **kwargs):
    if "trained" in value:
        value = {**value, "parameters": [[[2**39] * 32, "float64"]] * len(value["parameters"])}
    return plain(value, **kwargs)


def attack():
    json.dumps = lie
