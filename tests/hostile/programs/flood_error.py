# attack: raises an error of 100 MB that clears the terminal, sets its title and claims success in lines of its own
# layer: protocol
# where: forward
# status: crashed
# score: none
def attack():
    raise RuntimeError("\x1b[2J\x1b]0;title\x07\n\r\u202estatus: ok\nhonest_loss: 0.1\n\u2028" + "x" * 100_000_000)
