# attack: answers nothing, then a text, then itself
# layer: protocol
# status: crashed
# score: none


def change(mixer, x, y):
    return (None, "ok", mixer)
