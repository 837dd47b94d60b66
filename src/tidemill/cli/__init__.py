"""The `tidemill` command. One function per sub-command, imported when it is called.

`running` executes and plans, `asking` answers questions, `telling` shows what tasks left beside their results,
`changing` changes what is stored, `moving` takes files in and out, `debugging` runs one step alone; `script` finds the
workflow in a file, `output` prints. What a command does is done in `client`; here it is only given a name, options and
a face.
"""

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Group, Parameter

from tidemill._version import __version__
from tidemill.cli import output
from tidemill.model.errors import HaltedError, NotFoundError, TidemillError, UsageError

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: all is well; runs failed or the store could not do it; wrong usage; Ctrl-C, or stopped
by `tidemill kill`."""

_RESUMABLE = (["run"], ["resume"], ["retry"], ["rerun"])

_COMMANDS: dict[str, list[tuple[str, str, str]]] = {
    "Run": [
        ("run", "running:run", "Execute the workflow in a Python file."),
        ("plan", "running:plan", "Say what would run, what is reused, and why."),
        ("resume", "running:resume", "Go on with an interrupted workflow."),
        ("retry", "running:retry", "Execute failed and cancelled runs again."),
        ("rerun", "running:rerun", "Execute ended runs again, and what follows from them."),
        ("debug", "debugging:debug", "Run one step alone, in this terminal."),
    ],
    "Look": [
        ("status", "asking:status", "How far workflows are."),
        ("list", "asking:list_", "Runs by state, task or block."),
        ("show", "asking:show", "Everything about a run, block or datum."),
        ("logs", "asking:logs", "What a run printed."),
        ("messages", "telling:messages", "What tasks told their workflows."),
        ("why", "asking:why", "Why a run executed, was reused, or waits."),
        ("lineage", "asking:lineage", "What something came from, or what came from it."),
        ("stats", "operating:stats", "What tasks took: time, processors, memory, disk."),
    ],
    "Files": [
        ("fetch", "moving:fetch", "Get files from elsewhere into the store."),
        ("send", "moving:send", "Write a result that is a file to somewhere else."),
        ("ls", "moving:list_", "What is at an address."),
        ("url", "moving:url", "An address at which a result can be read."),
        ("names", "telling:names", "Named files that tasks and programs share."),
    ],
    "Change": [
        ("cancel", "changing:cancel", "End what has not ended."),
        ("hold", "changing:hold", "Keep runs from starting."),
        ("unhold", "changing:unhold", "Let held runs go on."),
        ("priority", "changing:priority", "Start some runs before others."),
        ("invalidate", "changing:invalidate", "Never reuse the results of runs again."),
        ("gc", "changing:gc", "Delete stored bytes that nothing needs."),
    ],
    "Operate": [
        ("kill", "operating:kill", "Stop all work, of others too; it can go on later."),
        ("config", "operating:config", "What a store does when nobody says otherwise."),
        ("clean", "operating:clean", "Delete what finished workflows hold."),
        ("destroy", "operating:destroy", "Delete a whole store."),
    ],
}


def app(whole: str = "") -> App:
    """The command with all its sub-commands, none of them imported yet.

    Args:
        whole: the sub-command whose help is wanted in full: it is the function's docstring, not the line of the list.
    """
    found = App(
        name="tidemill",
        help="Durable workflows for computational science.",
        version=__version__,
        version_flags=["--version"],
        help_format="plaintext",
        suppress_keyboard_interrupt=False,
        result_action="return_value",
        group_commands=Group("More", sort_key=9),
        default_parameter=Parameter(show_default=_shown),
    )
    for i, (title, commands) in enumerate(_COMMANDS.items()):
        group = Group(title, sort_key=i)
        for j, (name, place, text) in enumerate(commands):
            said = None if name == whole else text
            found.command(f"tidemill.cli.{place}", name=name, help=said, group=group, sort_key=j)
    found.command("tidemill.cli.asking:version", name="version", help="The version.", show=False)
    return found


def _shown(default: object) -> str | None:
    """A default as the help shows it; what is off or empty goes without saying."""
    return str(default) if default else None


def main(argv: Sequence[str] | None = None) -> int:
    """Execute a command; the exit code. Mistakes of the user are told without our traceback."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = app(words[0] if {"--help", "-h"} & set(words[1:]) else "")(words, exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except CycloptsError as error:
        return output.complain(
            UsageError(_text(error), hint="tidemill --help lists the commands and their options"), USAGE
        )
    except (UsageError, NotFoundError) as error:
        return output.complain(error, USAGE)
    except HaltedError as error:
        return output.complain(error, INTERRUPTED)
    except TidemillError as error:
        return output.complain(error, FAILED)
    except KeyboardInterrupt:
        more = "; the same command goes on where it was" * (words[:1] in _RESUMABLE)
        sys.stderr.write(f"interrupted{more}\n")
        return INTERRUPTED
    except BrokenPipeError:
        # whoever read our output has gone; Python must not try to flush it again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return code if isinstance(code, int) else OK


def _text(error: CycloptsError) -> str:
    return " ".join(str(error).split())
