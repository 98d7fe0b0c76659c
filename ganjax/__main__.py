"""`python -m ganjax`: the commands of `ganjax` (`ganjax.commands`)."""

from ganjax.commands import main

if __name__ == "__main__":
    main()
