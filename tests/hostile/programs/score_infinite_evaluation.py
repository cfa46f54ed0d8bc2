# attack: gives infinite outputs in evaluation
# layer: score
# status: diverged
# score: none
def change(mixer, x, y):
    return y if mixer.training else y + float("inf")
