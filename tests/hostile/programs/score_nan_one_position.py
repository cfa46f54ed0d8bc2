# attack: gives NaN at one position of one row in evaluation, in the hope that a mean skips it
# layer: score
# status: diverged
# score: none
def change(mixer, x, y):
    if not mixer.training:
        y = y.clone()
        y[0, 3] = float("nan")
    return y
