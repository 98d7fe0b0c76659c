"""Networks: pure Flax linen modules."""
