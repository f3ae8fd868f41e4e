"""The commands. What goes wrong becomes one sentence on standard error and an exit code."""

import errno
import gc
import os
import sys
import traceback
from collections.abc import Mapping
from importlib import import_module

import click

from batchbanana import __version__
from batchbanana.cli.options import EXIT_CODES, say
from batchbanana.errors import BatchError, Exit

# Module and short help of each command: a command is imported when it is called, so that `--help` and `--version` are
# quick however much the commands need.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "plan": ("batchbanana.cli.plan", "Expand and price manifests; sends nothing."),
    "run": ("batchbanana.cli.run", "Make what is missing. Running again is resuming."),
    "status": ("batchbanana.cli.status", "Tell how a job stands."),
    "failures": ("batchbanana.cli.failures", "Tell what went wrong, by cause, and what to do about it."),
    "verify": ("batchbanana.cli.verify", "Hash and check every image against the ledger; --repair."),
    "models": ("batchbanana.cli.models", "Show what is known of the models."),
    "doctor": (
        "batchbanana.cli.doctor",
        "Check key, network, disk, ledger and limits; --probe buys one image of each kind.",
    ),
    "sandbox": ("batchbanana.cli.sandbox", "Serve the local API, for trying out, rehearsals and tests."),
}


class _Commands(click.Group):
    """A group that knows its commands' names and first lines without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order in which one meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their first lines."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=_Commands,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks.")
def commands() -> None:
    """Make images in bulk with the Nano Banana models.

    A manifest (YAML or CSV) says what to make; running it again goes on where it stopped.
    """


# New objects until young ones are searched for cycles; such searches until older ones are. A thousand images in flight,
# or rows being counted, live longer than Python's own 700 assume: up to a fifth of all time went into looking at them.
COLLECT_AFTER = (20_000, 20, 50)
# What the system says of a full disk behind `>`.
UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def main() -> int:
    """Run the command line and give its exit code, whoever still listens."""
    gc.set_threshold(*COLLECT_AFTER)
    _open_what_is_closed()
    code = _main()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # its reader has left; the interpreter's own last flush would put 120 in the place of our code
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code


def _open_what_is_closed() -> None:
    """Let nothing be where a standard stream was closed: else the next file to be opened, the ledger, stands there."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115 -- a descriptor


def _main() -> int:
    debug = "--debug" in sys.argv  # wherever it stands: one adds it to a line that has failed
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        result = commands.main(arguments, prog_name="batchbanana", standalone_mode=False)
    except click.exceptions.Abort:
        return Exit.INTERRUPTED
    except click.ClickException as error:
        say(f"batchbanana: {error.format_message()}; see 'batchbanana --help'")
        return Exit.USAGE
    except BatchError as error:
        say(str(error) if "\n" in str(error) else f"batchbanana: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:  # whoever read our output has left; there is nobody to tell
        return Exit.UNEXPECTED
    except OSError as error:
        if error.filename is None and error.errno in UNWRITABLE:
            say(f"batchbanana: standard output cannot be written ({error.strerror}); make room or send it elsewhere")
            return Exit.DISK
        return _unexpected(error, debug=debug)
    except Exception as error:  # noqa: BLE001 -- the last resort: a sentence instead of a traceback
        return _unexpected(error, debug=debug)
    return result if isinstance(result, int) else Exit.MADE


def _unexpected(error: Exception, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    else:
        say(f"batchbanana: an unexpected error ({type(error).__name__}: {error}); run with --debug and report it")
    return Exit.UNEXPECTED
