"""The report of all the jobs of a roundtrip."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vae3d_cli.cli.jobs import Job

if TYPE_CHECKING:
    from vae3d_cli.codec import RoundtripResult, Viewer
    from vae3d_cli.files import OutputGroup
    from vae3d_cli.metrics import GateResult
    from vae3d_cli.report import Exhibit, Measured

REPORT = "report"


class Reporter:
    """Gathers what the report shows, job by job, where one is wanted, and writes it in the end."""

    def __init__(self, jobs: list[Job], *, overwrite: bool) -> None:
        self._common, self._overwrite = jobs[0].common, overwrite
        self._measured: list[Measured] = []
        self._exhibit: Exhibit | None = None

    def viewer(self, job: Job) -> "Viewer | None":
        """What looks on at this job; of one input the same frames are kept for every model."""
        if REPORT not in self._common:
            return None
        from vae3d_cli.report import Exhibit

        shown = (run.exhibit.pictures for run in self._measured if run.result.input == job.name)
        self._exhibit = Exhibit(frozenset(next(shown, ())))
        return self._exhibit.watch

    def add(self, job: Job, result: "RoundtripResult", gates: "Sequence[GateResult]") -> None:
        """Take what came of the job."""
        if self._exhibit is not None:
            from vae3d_cli.report import Measured

            self._measured.append(Measured(job.model, result, self._exhibit, gates))

    def write(self, group: "OutputGroup | None" = None) -> None:
        """Write the report, with the other outputs of the `group`, if anything could be measured.

        Raises:
            OutputError: It cannot be written.
        """
        if self._measured:
            from vae3d_cli.files import OutputGroup
            from vae3d_cli.report import write_report

            measured, self._measured = self._measured, []  # once, whatever comes of it
            with OutputGroup(overwrite=self._overwrite) as own:
                write_report(self._common[REPORT], measured, group or own)
