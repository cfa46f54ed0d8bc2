# attack: gives auxiliary losses of minus infinity in evaluation, where no loss of its own counts
# layer: score
# status: ok
# score: same
def change(mixer, x, y):
    return y, x.new_full((), 0.0 if mixer.training else float("-inf"))
