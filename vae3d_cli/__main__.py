"""The program `vae3d`, which is `python -m vae3d_cli`, too."""

import signal


def main() -> None:
    """Run the command line in a process of its own."""
    # Until a command runs there is nothing to clean up: a signal ends the process at once, also while it imports.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    from vae3d_cli.cli import app
    from vae3d_cli.cli.guard import run_program

    run_program(lambda: app(prog_name="vae3d"))


if __name__ == "__main__":
    main()
