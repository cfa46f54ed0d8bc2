# attack: adds an auxiliary loss of minus a million, in the hope that it counts
# layer: score
# status: ok
# score: same
def change(mixer, x, y):
    return y, x.new_full((), -1e6)
