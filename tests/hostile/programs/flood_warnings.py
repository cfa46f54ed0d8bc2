# attack: floods the session with warnings and log lines
# layer: protocol
# where: forward
# status: ok
# score: same
import logging
import warnings


def attack():
    for number in range(50):
        warnings.warn("ESCAPED " + str(number), stacklevel=1)
        logging.getLogger().critical("ESCAPED %d", number)
