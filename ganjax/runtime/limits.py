"""The largest numbers that users may give."""

# What devices count with: steps and indices are int32.
LARGEST = 2**31 - 1
