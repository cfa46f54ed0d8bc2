# attack: gives NaN in its second training step
# layer: score
# status: diverged
# score: none
def change(mixer, x, y):
    mixer.calls = getattr(mixer, "calls", 0) + 1
    return y * float("nan") if mixer.training and mixer.calls == 2 else y
