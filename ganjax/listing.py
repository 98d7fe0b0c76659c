"""`ganjax configs`: lists the configs and sweeps that come with ganjax, in a line each.

A config is trained by `ganjax train <name>`, one of its presets by `ganjax train <name>:<preset>`,
and a sweep by `ganjax sweep <name>`. `ganjax train <name> --help` lists a config's fields.
"""

from ganjax import cli, shipped


def define_flags() -> None:
    """Defines this command's flags, of which there are none."""


def text() -> str:
    """Returns the names of the shipped configs, their presets and the sweeps, with meanings."""
    groups = (
        ("Configs (ganjax train NAME):", shipped.configs()),
        ("Sweeps (ganjax sweep NAME):", shipped.sweeps()),
    )
    width = max(len(entry.name) for _, entries in groups for entry in entries)
    lines = []
    for heading, entries in groups:
        lines += ["", heading, *(f"  {name:{width}}  {meaning}" for name, meaning in entries)]
    return "\n".join(lines[1:])


def main(argv: list[str]) -> None:
    """Prints the list."""
    del argv
    print(text())


if __name__ == "__main__":
    cli.run(main, define_flags, computes=False)
