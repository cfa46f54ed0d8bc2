# attack: answers a sparse tensor
# layer: protocol
# status: crashed
# score: none


def change(mixer, x, y):
    return y.to_sparse()
