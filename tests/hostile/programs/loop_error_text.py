# attack: raises an error whose text takes for ever
# layer: watchdog
# where: forward
# status: timed_out
# score: none
class Endless(Exception):
    def __str__(self):
        while True:
            pass


def attack():
    raise Endless
