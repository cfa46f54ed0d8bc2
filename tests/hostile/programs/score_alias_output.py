# attack: keeps its outputs and overwrites them once they were taken
# layer: score
# status: ok
# score: same
given = []


def change(mixer, x, y):
    for old in given:
        old.data.fill_(float("nan"))
    if not mixer.training:
        given.append(y)
    return y
