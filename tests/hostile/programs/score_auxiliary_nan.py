# attack: adds an auxiliary loss that is not a number, with gradients that are none either
# layer: score
# status: diverged
# score: none
def change(mixer, x, y):
    return y, y.sum() * float("nan")
