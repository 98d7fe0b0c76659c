"""The classes of a run, as a user names them."""

from collections.abc import Sequence

from ganjax.errors import UserError


def class_index(chosen: str, names: Sequence[str]) -> int:
    """Returns the index of a class.

    Args:
      chosen: the name of the class or, if no class has that name, its index as text.
      names: the names of all classes.

    Raises:
      UserError: there is no such class.
    """
    if chosen in names:
        return list(names).index(chosen)
    if chosen.isdecimal() and int(chosen) < len(names):
        return int(chosen)
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    raise UserError(
        f"--label={chosen}: there is no such class; take a name ({shown}) or an index from 0 to "
        f"{len(names) - 1}"
    )
