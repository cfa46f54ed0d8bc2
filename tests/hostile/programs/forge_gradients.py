# attack: answers a backward pass with gradients that there are not
# layer: protocol
# where: forward
# status: crashed
# score: none
json = __import__("json")
plain = json.dumps


def lie(value, **kwargs):
    if "present" in value:
        value = {**value, "present": [True] * 1000}
    return plain(value, **kwargs)


def attack():
    json.dumps = lie
