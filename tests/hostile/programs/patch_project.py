# attack: replaces the project's own functions for training, evaluation, seeds and scores in its process
# layer: score
# where: construct
# status: ok
# score: same
import torch


def attack():
    def nothing(*args, **kwargs):
        return 0.0

    for module, names in (
        ("train", "train make_optimiser pack_checkpoint unpack_checkpoint"),
        ("step", "make_step learning_rate EagerStep GraphStep"),
        ("evaluate", "negative_log_likelihood honest_rows estimate_leak_gain contradicts bits_per_byte"),
        ("measure", "Bench explain"),
        ("answer", "Answer checked_failure"),
        ("ledger", "Ledger writing"),
        ("corpus", "train_batch batch_offsets read_windows evaluation_windows"),
    ):
        found = torch.sys.modules.get("replication." + module)
        for name in names.split():
            if hasattr(found, name):
                setattr(found, name, nothing)
