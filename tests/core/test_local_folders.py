from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import icf
from icf.errors import PluginError
from icf.local import match_local_plugins, read_local_plugins, restore_local_plugins
from icf.plan import Plan, load_plan
from icf.plugins import Status, load_object, load_plugins

FILES = {
    "model.py": "import utils.names as names\nfrom loss import SCALE\nNAME = names.make('model', SCALE)\n",
    "loss.py": "SCALE = 3\n",
    "utils/names.py": "import loss\ndef make(name, scale):\n    return f'{name} {scale} {loss.SCALE}'\n",
}

HOOKS = """
    import icf
    from pydantic import Field

    class PolyParams(icf.Params):
        epsilon: float = Field(default=1.0, description="Weight")

    @icf.hookimpl
    def icf_losses():
        yield icf.Loss(name="poly", factory="{factory}", params=PolyParams, summary="PolyLoss")

    def build(params, ctx):
        from losses import Poly
        return Poly(params.epsilon)
"""

LOSSES = """
    class Poly:
        def __init__(self, epsilon):
            self.epsilon = epsilon

    def build(params, ctx):
        return Poly(params.epsilon + 10)
"""


@pytest.fixture(autouse=True)
def forget():
    yield
    restore_local_plugins(())


def write(folder: Path, files: dict[str, str] = FILES) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder


def write_plugin(folder: Path, factory: str = ":build") -> Path:
    return write(folder, {"plugin.py": HOOKS.replace("{factory}", factory), "losses.py": LOSSES})


def write_recipe(folder: Path) -> Path:
    path = folder / "recipe.toml"
    path.write_text('dataset = "sklearn/digits"\nmodel = "nn/sequential-cnn"\nloss = "my-team/poly"\n')
    return path


def use(*folders: Path) -> None:
    restore_local_plugins(read_local_plugins(folders))


# -- reading ----------------------------------------------------------------------------------------


def test_a_folder_is_read_whole_and_in_order(tmp_path):
    read = ("b.py", "a.py", "b/c.py", "b/__init__.py", "my run.py")
    left_out = (".git/x.py", "tests/test_a.py", "b/__pycache__/c.py", "venv/pyvenv.cfg", "venv/lib/z.py", "notes.txt")
    write(tmp_path / "My Team", {name: f"# {name}\n" for name in (*read, *left_out)})
    [plugin] = read_local_plugins([tmp_path / "My Team"])
    assert list(plugin.files) == ["a.py", "b.py", "b/__init__.py", "b/c.py", "my run.py"]
    assert plugin.files["b/c.py"] == "# b/c.py\n"
    assert (plugin.name, plugin.title, plugin.has_hooks) == ("my-team", "My Team/", False)
    assert plugin.modules == {"a": "a.py", "b": "b/__init__.py", "b.c": "b/c.py"}


def test_the_hash_is_that_of_what_sha256sum_prints(tmp_path):
    folder = write(tmp_path / "team")
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in sorted(FILES)]
    [plugin] = read_local_plugins([folder])
    assert plugin.hash == hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.parametrize("change", ["text", "name", "more", "less"])
def test_every_change_changes_the_hash(tmp_path, change):
    folder = write(tmp_path / "team")
    [before] = read_local_plugins([folder])
    if change == "text":
        (folder / "utils/names.py").write_text(FILES["utils/names.py"] + "\n")
    elif change == "name":
        (folder / "loss.py").rename(folder / "losses.py")
    elif change == "more":
        (folder / "new.py").touch()
    else:
        (folder / "model.py").unlink()
    [after] = read_local_plugins([folder])
    assert before.hash != after.hash


def test_the_current_folder_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(write(tmp_path / "team"))
    [plugin] = read_local_plugins([Path(".")])
    assert (plugin.path, plugin.name, plugin.title) == (".", "team", "team/")


def test_data_beside_the_code_does_not_matter(tmp_path):
    folder = write(tmp_path / "team")
    [before] = read_local_plugins([folder])
    (tmp_path / "data").mkdir()
    (folder / "images").symlink_to(tmp_path / "data")
    (folder / "0.png").write_bytes(b"\xff")
    assert read_local_plugins([folder]) == (before,)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, "there is no .py file in this folder"),
        (lambda folder: (folder / "a.py").write_bytes(b"# \xff"), r"team: a.py: no Python text"),
        (lambda folder: (folder / "a.py").write_bytes(b"#" * 1_000_001), r"team: a.py: 1,000,001 bytes, but 1,000,000"),
        (
            lambda folder: [(folder / f"{number}.py").write_bytes(b"#" * 900_000) for number in range(6)],
            "too much Python in it: 5,000,000 bytes and 500 files are allowed",
        ),
        (lambda folder: [(folder / f"{number}.py").touch() for number in range(501)], "too much Python in it"),
        (lambda folder: (folder / "a.py").symlink_to(__file__), r"a.py is a link to a file outside of the folder"),
        (lambda folder: (folder / "x").symlink_to(Path(__file__).parent), "x is a link to a folder with Python files"),
    ],
)
def test_a_folder_that_is_no_code_is_refused(tmp_path, prepare, message):
    folder = tmp_path / "team"
    folder.mkdir()
    prepare(folder)
    with pytest.raises(PluginError, match=f"--plugin {tmp_path}.*{message}"):
        read_local_plugins([folder])


def test_a_link_inside_of_the_folder_is_a_file_like_others(tmp_path):
    folder = write(tmp_path / "team")
    (folder / "again.py").symlink_to(folder / "loss.py")
    [plugin] = read_local_plugins([folder])
    assert plugin.files["again.py"] == FILES["loss.py"]


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(PluginError, match=r"gone: no such file or folder"):
        read_local_plugins([tmp_path / "gone"])


# -- importing --------------------------------------------------------------------------------------


def test_files_import_each_other_and_leave_no_general_name_behind(tmp_path):
    use(write(tmp_path / "team"))
    assert icf.local_module("model").NAME == "model 3 3"
    assert icf.local_module("utils.names").__name__.startswith("icf_local_team_")
    assert not {"model", "loss", "utils"} & set(sys.modules)


def test_every_form_of_import_finds_the_folder_and_all_else_is_found_as_ever(tmp_path):
    code = """
        from __future__ import annotations
        import json, loss, utils.names, os.path as path, loss as short
        from utils import names as other
        from utils.names import make
        from . import loss as relative
        def late():
            import loss
            from loss import SCALE
            return loss.SCALE, SCALE
        found = [loss.SCALE, utils.names.make("a", 1), short.SCALE, other.make("b", 2), make("c", 3), relative.SCALE]
        found += [json.dumps(1), path.sep]
    """
    use(write(tmp_path / "team", FILES | {"every.py": code}))
    module = icf.local_module("every")
    assert module.found == [3, "a 1 3", 3, "b 2 3", "c 3 3", 3, "1", "/"]
    assert module.late() == (3, 3)


def test_a_folder_of_logs_does_not_hide_an_installed_module_but_a_package_does(tmp_path):
    files = {"a.py": "import json\nimport colorsys\n", "json/logs.py": "", "colorsys/__init__.py": "OWN = True"}
    use(write(tmp_path / "team", files))
    module = icf.local_module("a")
    assert module.json.dumps([]) == "[]"
    assert module.colorsys.OWN


def test_only_what_is_asked_for_is_executed_and_only_once(tmp_path):
    folder = write(tmp_path / "team", FILES | {"train.py": "raise ValueError('executed')", "count.py": "seen = []"})
    use(folder)
    icf.local_module("count").seen.append(1)
    use(folder)
    assert icf.local_module("count").seen == [1]


def test_two_folders_of_equal_names_do_not_disturb_each_other(tmp_path):
    first = write(tmp_path / "a" / "team")
    second = write(tmp_path / "b" / "team", FILES | {"loss.py": "SCALE = 5\n"})
    use(first)
    one = icf.local_module("model")
    use(second)
    assert (one.NAME, icf.local_module("model").NAME) == ("model 3 3", "model 5 5")
    use(first)
    assert icf.local_module("model") is one


def test_which_folder_is_meant_must_be_clear(tmp_path):
    with pytest.raises(PluginError, match=r"no folder with model.py was named; .*: --plugin FOLDER"):
        icf.local_module("model")
    first, second = write(tmp_path / "a"), write(tmp_path / "b", {"model.py": "", "only.py": "HERE = 1"})
    use(first, second)
    assert icf.local_module("only").HERE == 1
    with pytest.raises(PluginError, match=rf"which 'model'\? There are {first}/model.py and {second}/model.py"):
        icf.local_module("model")
    with pytest.raises(PluginError, match=rf"no dataset.py .*{first} has loss.py, model.py, utils/names.py; "):
        icf.local_module("dataset")
    with pytest.raises(PluginError, match=rf"no names.py in {first}, but one in {first}/utils; name that folder"):
        icf.local_module("names")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\nimport loss\n", r"model.py can't be imported: ValueError: bad \(loss.py, line 2\)"),
        ("def f(:\n", r"model.py can't be imported: SyntaxError: .*model\.py, line 1"),
        ("import adamp_of_nobody\n", r"No module named 'adamp_of_nobody' \(model.py, line 1\)"),
        ("raise SystemExit(2)\n", r"SystemExit: 2"),
    ],
)
def test_a_broken_module_is_explained(tmp_path, code, message):
    use(write(tmp_path / "team", {"model.py": code, "loss.py": "\nraise ValueError('bad')\n"}))
    for _ in range(2):
        with pytest.raises(PluginError, match=message):
            icf.local_module("model")


def test_another_run_takes_the_place_of_the_last(tmp_path):
    use(write(tmp_path / "team"))
    use()
    with pytest.raises(PluginError, match="no folder"):
        icf.local_module("model")


# -- folders with hooks -----------------------------------------------------------------------------


@pytest.mark.parametrize(("factory", "epsilon"), [(":build", 1), ("plugin:build", 1), ("losses:build", 11)])
def test_a_folder_with_hooks_is_a_plugin(tmp_path, factory, epsilon):
    local = read_local_plugins([write_plugin(tmp_path / "my_team", factory)])
    [plugin] = load_plugins(only=(), local=local).plugins
    assert (plugin.name, plugin.status, plugin.distribution) == ("my-team", Status.ok, "my_team/")
    [loss] = plugin.components
    assert load_object(loss.factory)(loss.params(), None).epsilon == epsilon


def test_a_folder_without_hooks_takes_nobodys_name(tmp_path):
    [folder] = read_local_plugins([write(tmp_path / "loss")])
    [found] = load_plugins(only=["loss"], local=[folder]).plugins
    assert (found.status, found.distribution) == (Status.ok, "icf")


def test_the_plan_of_a_folder_with_hooks_works_elsewhere(tmp_path):
    folder = write_plugin(tmp_path / "my_team")
    plan = load_plan(write_recipe(tmp_path), plugin_files=[folder])
    assert Plan.from_json(plan.to_json()) == plan
    [kept] = plan.local_plugins
    assert sorted(kept.files) == ["losses.py", "plugin.py"]
    for file in folder.iterdir():
        file.unlink()
    (tmp_path / "plan").write_bytes(pickle.dumps(plan))
    code = """
import pickle, sys
from icf.local import restore_local_plugins
plan = pickle.load(open(sys.argv[1], "rb"))
restore_local_plugins(plan.local_plugins)
print(plan.loss.build(None).epsilon)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "plan")]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (found.returncode, found.stdout) == (0, "1.0\n"), found.stderr


def test_the_identity_follows_every_file_of_the_folder(tmp_path):
    folder, recipe = write_plugin(tmp_path / "my_team"), write_recipe(tmp_path)
    before = load_plan(recipe, plugin_files=[folder]).identity
    moved = write_plugin(tmp_path / "elsewhere" / "my_team")
    assert load_plan(recipe, plugin_files=[moved]).identity == before
    (folder / "losses.py").write_text((folder / "losses.py").read_text() + "\n")
    assert load_plan(recipe, plugin_files=[folder]).identity != before


def test_code_that_no_component_takes_is_told_and_left_out(tmp_path):
    plan = load_plan(
        write_recipe(tmp_path), plugin_files=[write_plugin(tmp_path / "my_team"), write(tmp_path / "code")]
    )
    assert [plugin.name for plugin in plan.local_plugins] == ["my-team"]
    assert plan.warnings == (
        f"--plugin {tmp_path / 'code'}: no component of the recipe takes code from a folder, as baseline/model does",
    )


def test_folders_are_matched_by_name_and_content(tmp_path):
    folder = write(tmp_path / "team")
    [wanted] = read_local_plugins([folder])
    [copy] = read_local_plugins([write(tmp_path / "copy" / "team")])
    assert match_local_plugins([wanted], [copy]) == [copy]
    [file] = read_local_plugins([write(tmp_path, {"team.py": ""}) / "team.py"])
    with pytest.raises(PluginError, match=f"needs the local plugin 'team'.* name the folder again: --plugin {folder}"):
        match_local_plugins([wanted], [file])
    (folder / "loss.py").write_text("SCALE = 4\n")
    [changed] = read_local_plugins([folder])
    with pytest.raises(PluginError, match=r"not the folder that the run used: .* \(changed: loss.py\)"):
        match_local_plugins([wanted], [changed])
    assert match_local_plugins([wanted], [changed, copy]) == [copy]
