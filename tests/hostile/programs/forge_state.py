# attack: answers with a hidden state of 256 MiB in forms that do not fit, names of other modules and nested values
# layer: protocol
# where: forward
# status: crashed
# score: none
json = __import__("json")
plain = json.dumps


def lie(value, **kwargs):
    if "forms" in value:
        value = {**value, "values": {"../:a": [[[]]], "blocks.9:b": 1}, "forms": {"x": [[2**28], "uint8"]}}
    return plain(value, **kwargs)


def attack():
    json.dumps = lie
