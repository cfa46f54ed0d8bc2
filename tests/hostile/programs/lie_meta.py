# attack: answers a tensor that has a shape and no numbers
# layer: protocol
# status: crashed
# score: none


def change(mixer, x, y):
    return y.to("meta")
