"""The one error family: every text is a single line that names what is wrong and what to do."""


class Vae3dError(Exception):
    """Something the user can act on; the command line prints it as one line and ends with status 1."""


class UsageError(Vae3dError):
    """The call itself is wrong, and no input could make it right; status 2, raised before any work."""


class InputError(Vae3dError):
    """An input that is not there, or that cannot be copied."""


class StoreError(Vae3dError):
    """An object, or the store that it is in, that cannot be read, listed or written."""


class VideoError(Vae3dError):
    """A video or image that cannot be read or written."""


class LatentsError(Vae3dError):
    """A latents file that cannot be read, or does not fit the model."""


class WeightsError(Vae3dError):
    """A model that cannot be found or loaded."""


class WorkerError(Vae3dError):
    """A process that encodes clips for another one died."""


class MeasureError(Vae3dError):
    """A measure that failed while it was taken."""


class TrainingError(Vae3dError):
    """A training run that cannot go on."""


class MemoryLimitError(Vae3dError):
    """A clip of which no part fits the memory that it may take."""


class OutputError(Vae3dError):
    """An output that may not or cannot be written."""


class PrintError(Vae3dError):
    """A result that standard output does not take; the run ends, for none can be printed any more."""


class Interrupted(Exception):  # noqa: N818 - it is not an error
    """A signal arrived while a foreign library was calling us.

    PyAV lets an `Exception` out of its callbacks and swallows a `KeyboardInterrupt`, so this stands in for it.
    """
