"""The distribution of a run over several devices and several processes."""
