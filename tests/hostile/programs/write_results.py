# attack: overwrites the findings of the session
# layer: files
# where: forward
# status: ok
# score: same
def attack():
    for name in ("findings.json", "ledger/aa/record.json", "report.html"):
        for mode in ("w", "a", "r+"):
            try:
                with open("{CANARY}/results/" + name, mode) as file:
                    file.write("ESCAPED")
            except OSError:
                continue
