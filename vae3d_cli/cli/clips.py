"""What `encode` does once its options are parsed: find the clips, run them, and present what came of each."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae3d_cli.cli import present
from vae3d_cli.cli.jobs import PIPE, as_pipe, check_names, check_stdout, refuse_outputs
from vae3d_cli.cli.options import FormatChoice
from vae3d_cli.cli.parse import parse_frames, parse_rate, parse_size
from vae3d_cli.cli.runner import Failures, Settings
from vae3d_cli.console import print_detail, progress_bars
from vae3d_cli.errors import UsageError, Vae3dError
from vae3d_cli.files import STDIN_FD, STDOUT_FD
from vae3d_cli.remote import location

if TYPE_CHECKING:
    from vae3d_cli.batch import Clip, Engine, Found, Outcome, Use
    from vae3d_cli.codec import EncodeOptions

# What a line of a list may say of its clip, by the names of the options.
_PARSERS: dict[str, Callable[[str], Any]] = {"frames": parse_frames, "fps": parse_rate, "size": parse_size}
_SWITCHES = ("deinterlace", "allow_damaged")
_SEED, _STREAM = "seed", "stream"
_OPTIONS = (*_PARSERS, _STREAM, *_SWITCHES, _SEED)


@dataclass
class EncodePlan:
    """The clips of a run, and the inputs of which it is known already that they fail."""

    clips: "list[Clip]"
    failures: list[tuple[str, Vae3dError]]
    notes: list[str]

    @property
    def num_inputs(self) -> int:
        """How many inputs a summary counts."""
        return len(self.clips) + len(self.failures)


def plan_encode(
    inputs: list[str],
    listed: str | None,
    output: str | None,
    options: "EncodeOptions",
    model: str,
    *,
    recursive: bool,
) -> EncodePlan:
    """Plan the clips to encode, with their outputs.

    Raises:
        UsageError: Inputs are missing, a pipe or a terminal is where it cannot be, or an output is an input, another
            output, or named like another kind of file.
        InputError: The list cannot be read.
    """
    from vae3d_cli.batch import check_apart
    from vae3d_cli.codec import SUFFIXES
    from vae3d_cli.weights import model_files

    if "" in inputs:
        raise UsageError("'': names no file")
    refuse_outputs(inputs, set(SUFFIXES.values()))
    inputs = [as_pipe(text, STDIN_FD) for text in inputs]
    listed = None if listed is None else as_pipe(listed, STDIN_FD)
    output = None if output is None else as_pipe(output, STDOUT_FD)
    plan = _plan(inputs, listed, output, options, recursive=recursive)
    also_read: list[Use] = [("the model", path) for path in model_files(model)]
    if listed is not None:
        also_read.append(("the list", None if listed == PIPE else Path(listed)))
    check_apart(plan.clips, also_read)
    return plan


def _plan(
    inputs: list[str], listed: str | None, output: str | None, options: "EncodeOptions", *, recursive: bool
) -> EncodePlan:
    """Plan as `plan_encode` does, without the check for collisions."""
    from vae3d_cli.batch import Found, find_clips, is_several, names_folder, plan_clips, read_list

    if options.format == FormatChoice.musubi:
        check_names(inputs, output)
    elif listed is None and len(inputs) == 1 and not is_several(location(inputs[0])):
        return EncodePlan([_plan_single(inputs[0], output, options)], [], [])
    if listed is None and not inputs:
        raise UsageError("INPUT: give videos, images, folders of them with -r, or a --list")
    if PIPE in inputs:
        raise UsageError("-: standard input is one clip; give it alone")
    if output == PIPE:
        raise UsageError("-o -: standard output takes one clip; give a folder")
    entries = [Found(location(text), Path()) for text in inputs]
    if listed is not None:
        entries += read_list(None if listed == PIPE else Path(listed), _OPTIONS)
    folder = None if output is None else location(output)
    findings = find_clips(entries, recursive=recursive, output=folder)
    if output is not None and findings.clips:
        names_folder(output, "-o", for_several=True)
    clips = plan_clips(findings.clips, folder, lambda found: _options_of(found, options))
    return EncodePlan(clips, findings.failures, findings.notes)


def _plan_single(text: str, output: str | None, options: "EncodeOptions") -> "Clip":
    """Plan a single clip, whose output is a file or in a folder that `output` names, or next to the clip.

    Raises:
        UsageError: A pipe or a terminal where it cannot be, or the output is named like another kind of file.
    """
    from vae3d_cli.batch import Clip, check_suffix, latents_kind, names_folder
    from vae3d_cli.codec import SUFFIXES

    source = None if text == PIPE else location(text)
    if output == PIPE:
        check_stdout("-o", output)
        return Clip(text, source, None, options)
    suffix = SUFFIXES[options.format]
    is_folder = output is not None and names_folder(output, "-o", for_several=False)
    if output is not None and not is_folder:
        check_suffix(output, latents_kind(options.format))
        return Clip(text, source, location(output), options)
    if source is None:
        raise UsageError("-: standard input has no name to name the output after; name a file with -o")
    folder = source.parent if output is None else location(output)
    return Clip(text, source, folder / f"{source.stem}{suffix}", options, makes_folder=is_folder)


def _options_of(found: "Found", options: "EncodeOptions") -> "EncodeOptions":
    """The options of the run with those of a line of a list.

    Raises:
        UsageError: They make no sense.
    """
    if not found.options:
        return options
    given: dict[str, Any] = {}
    for name, value in found.options.items():
        try:
            given[name] = _value_of(name, value)
        except UsageError as error:
            raise UsageError(f"{found.listed}: {error}") from error
    if _SEED in given and options.posterior != "sample":
        raise UsageError(f"{found.listed}: seed: only --posterior sample draws anything")
    fields = {"fps": "rate"} | {name: name for name in ("size", _STREAM, *_SWITCHES)}
    reading = {field: given[name] for name, field in fields.items() if name in given}
    own = {name: given[name] for name in ("frames", _SEED) if name in given}
    return replace(options, reading=replace(options.reading, **reading), **own)


def _value_of(name: str, value: object) -> object:
    """What an option of a line says."""
    if name in _SWITCHES:
        if not isinstance(value, bool):
            raise UsageError(f"{name}: give true or false")
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in (_SEED, _STREAM):
        if not isinstance(value, int) or not is_number or not 0 <= value < 1 << 63:
            raise UsageError(f"{name}: give a whole number from 0 to 2^63 - 1")
        return value
    if not isinstance(value, str) and not is_number:
        raise UsageError(f"{name}: give a text, as for --{name}")
    return _PARSERS[name](str(value))


def encode_all(plan: EncodePlan, settings: Settings, engine_for: "Callable[[int], Engine]") -> None:
    """Encode all clips that can be encoded, and present each; there is an engine, for so many, once all are checked.

    Raises:
        UsageError: The command is called wrongly, whatever the input.
        typer.Exit: An input failed, with status 1.
    """
    from vae3d_cli.batch import Policy, check_clips, encode_clips, open_manifests

    failures = Failures()
    skipped: list[Outcome] = []
    for note in plan.notes:
        settings.note(note)
    for name, error in plan.failures:
        failures.add(name, error)
    policy = Policy(force=settings.force, skip_existing=settings.skip_existing, update=settings.update)
    ready, outcomes = check_clips(plan.clips, policy)

    def show(outcome: "Outcome") -> None:
        if outcome.error is not None:
            failures.add(outcome.clip.name, outcome.error)
        elif outcome.result is not None:
            if settings.verbose and outcome.again:
                print_detail(f"{outcome.clip.name}: encoded again, its output was {outcome.again}")
            present.present_result(outcome.result, settings)
        else:
            skipped.append(outcome)
            if settings.verbose:
                print_detail(f"{outcome.clip.name}: skipped, its output is {outcome.skipped}")

    for outcome in outcomes:
        show(outcome)
    if ready:
        engine = engine_for(len(ready))
        with open_manifests(ready) as manifests, progress_bars(len(ready), show=settings.shows_progress) as bars:

            def advance(outcome: "Outcome") -> None:
                if outcome.skipped and not settings.verbose:
                    show(outcome)  # prints nothing
                else:
                    with bars.paused():
                        show(outcome)
                bars.advance()

            encode_clips(ready, engine, policy, manifests, lambda clip: bars.inner(clip.name), advance)
    _note_skipped(skipped, plan, settings)
    failures.conclude(plan.num_inputs)


def _note_skipped(skipped: "list[Outcome]", plan: EncodePlan, settings: Settings) -> None:
    """Say what was skipped and why: one clip by its name, several by their numbers."""
    advice = "; --update makes stale ones again" if any(outcome.is_stale for outcome in skipped) else ""
    if plan.num_inputs == 1 and skipped:
        settings.note(f"{skipped[0].clip.name}: skipped, its output is {skipped[0].skipped}{advice}")
    elif skipped:
        counts = Counter(outcome.skipped for outcome in skipped)
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items())
        settings.note(f"{len(skipped)} of {plan.num_inputs} inputs were skipped: {reasons}{advice}")
