# attack: gives huge outputs in evaluation, so that rounding and overflow decide
# layer: score
# status: ok
# score: no better
def change(mixer, x, y):
    return y if mixer.training else y * 1e18
