# attack: looks for the user's keys in everything that the worker holds in memory
# layer: protocol
# where: construct
# status: ok
# score: same
gc, re = __import__("gc"), __import__("re")
SECRET = re.compile("hostile-secret-[0-9a-f]{16}")


def attack():
    for thing in gc.get_objects():
        values = list(thing.values()) if type(thing) is dict else thing if type(thing) in (list, tuple, set) else ()
        for value in values:
            if type(value) is str and SECRET.search(value):
                raise RuntimeError("ESCAPED " + value)
