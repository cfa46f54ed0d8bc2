# attack: answers outputs of whole numbers
# layer: protocol
# status: crashed
# score: none


def change(mixer, x, y):
    return y.long()
