"""The command line, read from the program itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer
from docs.reference.markdown import clean, write_table

from icf.cli import main as program

EXAMPLES = {
    "run": "icf run recipes/digits.toml --set train.epochs=3 --set loss.use=loss/focal",
    "submit": "icf submit recipes/digits.toml --address http://head:8265 --cluster-runs /shared/runs",
    "jobs list": "icf jobs list --address http://head:8265",
    "jobs follow": "icf jobs follow icf-digits-20260131-120000-a1b2 --address http://head:8265",
    "jobs stop": "icf jobs stop icf-digits-20260131-120000-a1b2 --address http://head:8265",
    "jobs fetch": "icf jobs fetch icf-digits-20260131-120000-a1b2 --address http://head:8265",
    "check": "icf check recipes/digits.toml",
    "find-lr": "icf find-lr recipes/digits.toml --steps 200",
    "preview": "icf preview recipes/digits.toml --rows 12 --out digits.png",
    "predict": "icf predict runs/digits new/ --output predictions.csv",
    "compare": "icf compare runs/digits runs/digits-focal",
    "list-plugins": "icf list-plugins --strict",
    "describe": "icf describe loss/focal",
    "check-plugin": "icf check-plugin loss",
    "new-plugin": "icf new-plugin my-losses --kind loss --kind metric",
}
"""Command -> an example of it."""

VARIABLES = {
    "ICF_CACHE": "Folder of decoded images and downloads; `~/.cache/icf` if it is not set",
    "ICF_DEBUG": "If it is set, errors are shown with their traceback",
    "ICF_DISABLE_PLUGINS": "Plugins that are never imported, with commas between them",
    "ICF_CUT_KERNELS": "`0`: convolutions of small maps are those of torch, also with weights that meet only padding"
    " ([performance](performance.md))",
    "ICF_KEEP_MEMORY": "`0`: memory that is free goes back to the system at once ([performance](performance.md))",
    "ICF_RUNS": "Folder that holds run folders, for `icf run` without `--runs`",
    "RAY_API_SERVER_ADDRESS": "The dashboard of a Ray cluster, for `icf submit` and `icf jobs` without `--address`",
    "RAY_AUTH_MODE": "`token`: use a cluster that asks for Ray's token ([executors](cluster.md#security))",
    "RAY_ADDRESS": "The Ray cluster to use, as `ray job submit` sets it ([executors](cluster.md))",
}
"""Environment variable -> what it does."""

JSON = re.compile(r"\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}")
"""An object as a help text shows it, with up to two levels of objects in it."""


def write_commands() -> list[str]:
    """Describe every command with its arguments and options."""
    group: Any = typer.main.get_command(program.app)
    commands = dict(list_commands(group))
    lines = write_table(
        ["command", "what it does"],
        (
            (f"[`icf {name}`](#icf-{name.replace(' ', '-')})", _split_help(command)[0])
            for name, command in commands.items()
        ),
    )
    for name, command in commands.items():
        lines += ["", f"## icf {name}", "", *_write_command(name, command)]
    return lines


def list_commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every command that is not hidden, those of a group by two words."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from list_commands(command, f"{name} ")
        elif not command.hidden:
            yield prefix + name, command


def write_exit_codes() -> list[str]:
    """List the exit codes, as the program's own docstring tells them."""
    text = clean(program.__doc__).partition("Exit codes:")[2]
    codes = (item.strip().rstrip(".").partition(" ") for item in text.split(";"))
    return write_table(
        ["exit code", "meaning"], ((f"`{code}`", " ".join(meaning.split())) for code, _, meaning in codes)
    )


def write_variables() -> list[str]:
    """List the environment variables."""
    return write_table(["variable", "what it does"], ((f"`{name}`", text) for name, text in VARIABLES.items()))


def _write_command(name: str, command: Any) -> list[str]:
    if name not in EXAMPLES:
        raise SystemExit(f"docs/reference/commands.py: EXAMPLES has no example of 'icf {name}'")
    arguments = [item for item in command.params if item.param_type_name == "argument"]
    options = [item for item in command.params if item.param_type_name == "option"]
    synopsis = " ".join(["icf", name, *["[OPTIONS]"] * bool(options), *(item.metavar for item in arguments)])
    lines = ["```text", synopsis, "```", "", *_split_help(command), ""]
    if arguments:
        lines += [*write_table(["argument", "meaning"], map(_argument_row, arguments)), ""]
    lines += [*write_table(["option", "default", "meaning"], map(_option_row, options)), ""]
    return [*lines, "For example:", "", "```sh", EXAMPLES[name], "```"]


def _split_help(command: Any) -> list[str]:
    """Return the paragraphs of a command's help, with blank lines between; field names of JSON become code."""
    paragraphs = [" ".join(part.split()) for part in clean(command.help).split("\n\n")]
    marked = (JSON.sub(lambda found: f"`{found[0]}`", part) for part in paragraphs)
    return "\n\n".join(marked).split("\n")


def _argument_row(argument: Any) -> tuple[str, str]:
    return f"`{argument.metavar}`", argument.help


def _option_row(option: Any) -> tuple[str, str, str]:
    names = ", ".join(f"`{name}{'' if option.is_flag else f' {_metavar(option)}'}`" for name in _names(option))
    default = f"`{option.default}`" if option.default not in (None, False) else ""
    variable = f" Environment variable: `{option.envvar}`." if option.envvar else ""
    return names, default, option.help + variable


def _names(option: Any) -> Iterator[str]:
    yield from option.opts
    yield from option.secondary_opts


def _metavar(option: Any) -> str:
    return str(option.metavar or "NUMBER")
