"""How a run is to begin or to go on, besides its config: what the flags of `ganjax train` say."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Start:
    """How a run begins or goes on. The defaults begin it or go on with it, whichever fits.

    Attributes:
      allow_change: the dotted names of fields, with or without "config.", that may differ from
        those of the run in the folder. Which fields these can be is a rule
        (`ganjax.training.schema.RunConfig.nameable`).
      from_step: the step of a checkpoint from which the run goes on. What came after it is put
        aside (`ganjax.training.continuing`). None goes on from the last checkpoint.
    """

    allow_change: tuple[str, ...] = ()
    from_step: int | None = None


# Whichever fits: the beginning, or the last checkpoint.
AS_IT_IS = Start()
