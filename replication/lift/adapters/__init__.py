"""What the text of lifted programs calls, as `_lifted.<function>`: operators in the layouts of those programs."""

from replication.lift.adapters.delta_rule import delta_rule
from replication.lift.adapters.filters import causal_filters, depthwise_weight
from replication.lift.adapters.head_gate import head_features, head_gate, one_head
from replication.lift.adapters.moving_average import moving_average

__all__ = [
    "causal_filters",
    "delta_rule",
    "depthwise_weight",
    "head_features",
    "head_gate",
    "moving_average",
    "one_head",
]
