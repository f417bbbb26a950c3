"""What changes over a run, as functions of the step."""

WARM_UP_STEPS = 100
DECAY_SHARE = 0.4
# Plain error first: it is stable, and gains faster early on.
LOGARITHM_SHARE = 0.25
AVERAGE_DECAY = 0.999


def rate_factor(step: int, steps: int) -> float:
    """The share of the learning rate that step 0, 1, ... of `steps` takes."""
    return min(1.0, (step + 1) / WARM_UP_STEPS, (steps - step) / (DECAY_SHARE * steps))


def is_of_logarithm(step: int, steps: int) -> bool:
    """Whether the step minimises the logarithm of the error."""
    return step >= (1 - LOGARITHM_SHARE) * steps


def average_decay(step: int) -> float:
    """How much of the running average of the weights a step keeps: less at first, for the start is soon forgotten."""
    return min(AVERAGE_DECAY, (step + 1) / (step + 11))
