from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import distributions
import icf
from icf.errors import PluginError, RecipeError
from icf.local import match_local_plugins, read_local_plugins, restore_local_plugins
from icf.plan import Plan, load_plan
from icf.plugins import Catalogue, Status, load_object, load_plugins

installer = pytest.fixture(distributions.installer)

CODE = """
    from __future__ import annotations
    from typing import Literal
    import icf
    from pydantic import Field

    Mode = Literal["mean", "sum"]

    class PolyParams(icf.Params):
        epsilon: float = Field(default=1.0, ge=-1, description="Weight")
        mode: Mode = "mean"

    @icf.hookimpl
    def icf_losses():
        yield icf.Loss(name="poly", factory="{factory}", params=PolyParams, summary="PolyLoss")

    def build(params, ctx):
        return ("poly", params.epsilon, params.mode, ctx)
"""

WATCH = """
    import icf

    @icf.hookimpl
    def icf_epoch_end(event):
        pass
"""

RECIPE = 'dataset = "sklearn/digits"\nmodel = "nn/sequential-cnn"\nloss = "my-loss/poly"\n'


def write(path: Path, code: str = CODE, factory: str = ":build") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(code).replace("{factory}", factory))
    return path


@pytest.fixture
def file(tmp_path) -> Path:
    return write(tmp_path / "my_loss.py")


@pytest.fixture
def recipe(tmp_path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


def load(*paths: Path, **options) -> Catalogue:
    return load_plugins(only=(), local=read_local_plugins(paths), **options)


@pytest.mark.parametrize("factory", [":build", "my_loss:build"])
def test_a_file_is_a_plugin_named_after_it(tmp_path, factory):
    path = write(tmp_path / "my_loss.py", factory=factory)
    [plugin] = load(path).plugins
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (plugin.name, plugin.status, plugin.source) == ("my-loss", Status.ok, f"my_loss.py {digest[:12]}")
    [loss] = plugin.components
    assert loss.factory == f"icf_local_my_loss_{digest[:8]}:build"
    params = loss.params(epsilon=2, mode="sum")
    assert load_object(loss.factory)(params, "ctx") == ("poly", 2.0, "sum", "ctx")


@pytest.mark.parametrize(
    ("file_name", "name"), [("My Loss.py", "my-loss"), ("_x__2.py", "x-2"), ("größe.py", "gr-e"), ("a.b.py", "a-b")]
)
def test_names_are_made_of_the_file_name(tmp_path, file_name, name):
    [plugin] = load(write(tmp_path / file_name)).plugins
    assert (plugin.name, plugin.status) == (name, Status.ok)


def test_a_factory_of_another_module_stays_as_it_is(tmp_path):
    [plugin] = load(write(tmp_path / "my_loss.py", factory="icf_loss.losses:focal")).plugins
    assert plugin.components[0].factory == "icf_loss.losses:focal"


def test_a_changed_file_is_another_module(file):
    [before] = load(file).plugins
    file.write_text(file.read_text().replace('return ("poly",', 'return ("changed",'))
    [after] = load(file).plugins
    assert before.module != after.module
    build = [load_object(plugin.components[0].factory) for plugin in (before, after)]
    assert [function(icf_params(after), None)[0] for function in build] == ["poly", "changed"]


def icf_params(plugin) -> icf.Params:
    found: icf.Params = plugin.components[0].params()
    return found


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def f(:\n", r"SyntaxError: .*my_loss\.py, line 1"),
        ("import missing_module_of_nobody\n", "ModuleNotFoundError: No module named 'missing_module_of_nobody'"),
        ("x = 1\n", "it has no hook: a function such as icf_losses, marked with @icf.hookimpl"),
        ("def icf_losses():\n    yield 1\n", "icf_losses is not marked with @icf.hookimpl"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        ("import icf\n@icf.hookimpl\ndef icf_losses():\n    yield 7\n", r"icf_losses yields builtins\.int"),
    ],
)
def test_a_broken_file_says_what_is_wrong_and_leaves_nothing_behind(tmp_path, code, reason):
    catalogue = load(write(tmp_path / "my_loss.py", code))
    [plugin] = catalogue.plugins
    assert plugin.status is Status.failed
    with pytest.raises(PluginError, match=f"plugin 'my-loss' .my_loss.py [0-9a-f]+. does not load: {reason}"):
        catalogue.plugin("my-loss")


def test_a_file_that_fails_is_executed_again(tmp_path):
    path = write(tmp_path / "my_loss.py", "import icf\nraise ValueError('once')\n")
    for _ in range(2):
        [plugin] = load(path).plugins
        assert plugin.reason == "ValueError: once"
        assert plugin.module not in sys.modules


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.py", None, "can't be read: No such file or directory"),
        ("notes.txt", b"x = 1", "its name must end in .py"),
        ("big.py", b"#" * 1_000_001, r"1,000,001 bytes, but 1,000,000 are allowed"),
        ("latin.py", b"# \xff\n", "no Python text"),
        ("__.py", b"", "neither letter nor digit"),
        ("folder.py", "folder", "there is no .py file in this folder"),
    ],
)
def test_a_file_that_is_no_plugin_is_refused(tmp_path, name, content, message):
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(PluginError, match=message):
        read_local_plugins([path])


def test_a_name_of_an_installed_plugin_is_a_conflict(tmp_path):
    path = write(tmp_path / "loss.py", "raise ValueError('executed')\n")
    [plugin] = load(path).plugins
    assert plugin.status is Status.conflict
    assert plugin.reason == f"the name is claimed by icf {icf.__version__} and {path}"


def test_two_files_of_one_name_are_a_conflict_but_one_file_twice_is_not(tmp_path):
    first, second = write(tmp_path / "a" / "my_loss.py"), write(tmp_path / "b" / "my-loss.py")
    assert [plugin.status for plugin in load(first, second).plugins] == [Status.conflict]
    assert [plugin.status for plugin in load(first, first).plugins] == [Status.ok]


def test_a_blocked_file_is_not_executed(tmp_path):
    file = write(tmp_path / "my_loss.py", "raise ValueError('executed')\n")
    [plugin] = load(file, blocked=["my-loss"]).plugins
    assert (plugin.status, plugin.reason) == (Status.blocked, "as requested")


def test_a_plan_holds_the_files_that_the_recipe_names(tmp_path, file, recipe):
    other = write(tmp_path / "unused.py")
    plan = load_plan(recipe, ["loss.epsilon=3"], plugin_files=[file, other])
    [kept] = plan.local_plugins
    assert (kept.name, kept.path, kept.files["my_loss.py"]) == ("my-loss", str(file), file.read_text())
    assert kept.hash == hashlib.sha256(file.read_bytes()).hexdigest()
    assert plan.warnings == (f"--plugin {other}: the recipe names nothing of it",)
    assert plan.loss.build("ctx") == ("poly", 3.0, "mean", "ctx")
    assert Plan.from_json(plan.to_json()) == plan


def test_the_identity_follows_the_content_and_not_the_place(tmp_path, file, recipe):
    plan = load_plan(recipe, plugin_files=[file])
    moved = load_plan(recipe, plugin_files=[write(tmp_path / "elsewhere" / "my_loss.py")])
    assert moved.identity == plan.identity
    file.write_text(file.read_text() + "# a word more\n")
    assert load_plan(recipe, plugin_files=[file]).identity != plan.identity


def test_an_observer_may_be_a_file_and_changes_no_number(tmp_path, recipe):
    watch = write(tmp_path / "watch.py", WATCH)
    recipe.write_text(RECIPE.replace("my-loss/poly", "loss/focal"))
    plan = load_plan(recipe, ['observers=["watch"]'], plugin_files=[watch])
    assert [item.name for item in plan.local_plugins] == ["watch"]
    assert load_object(plan.observers[0].module).icf_epoch_end
    assert plan.identity == load_plan(recipe).identity


def test_a_recipe_can_not_bring_its_own_file(file, recipe):
    with pytest.raises(RecipeError, match="no plugin 'my-loss' is installed"):
        load_plan(recipe)
    recipe.write_text(f'{RECIPE}plugin = ["{file}"]\n')
    with pytest.raises(RecipeError, match="plugin"):
        load_plan(recipe)
    recipe.write_text(RECIPE.replace("my-loss/poly", f"{file}:build"))
    with pytest.raises(RecipeError, match="is not a name of the form"):
        load_plan(recipe)


def test_a_broken_file_stops_a_recipe_that_does_not_name_it(tmp_path, recipe):
    recipe.write_text(RECIPE.replace("my-loss/poly", "loss/focal"))
    with pytest.raises(PluginError, match=r"plugin 'broken' .* does not load: SyntaxError"):
        load_plan(recipe, plugin_files=[write(tmp_path / "broken.py", "def f(:\n")])


def test_reading_a_plan_executes_nothing_and_a_worker_restores_the_module(file, recipe, tmp_path):
    marker = tmp_path / "executed"
    write(file, CODE + f"\n    open({str(marker)!r}, 'a').write('x')\n")
    plan = load_plan(recipe, plugin_files=[file])
    file.unlink()
    (tmp_path / "plan.pickle").write_bytes(pickle.dumps(plan))
    (tmp_path / "plan.json").write_text(plan.to_json())
    code = """
import json, pickle, sys
from pathlib import Path
from icf.local import restore_local_plugins
from icf.plan import Plan
folder = Path(sys.argv[1])
Plan.from_json((folder / "plan.json").read_text())
plan = pickle.loads((folder / "plan.pickle").read_bytes())
before = len((folder / "executed").read_text())
restore_local_plugins(plan.local_plugins)
restore_local_plugins(plan.local_plugins)
print(json.dumps([before, len((folder / "executed").read_text()), plan.loss.build("ctx")]))
"""
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout) == [1, 2, ["poly", 1.0, "mean", "ctx"]]


def test_restoring_what_fails_is_an_error_for_people(tmp_path):
    [plugin] = read_local_plugins([write(tmp_path / "my_loss.py", "raise ValueError('no')\n")])
    with pytest.raises(PluginError, match=r"my_loss.py can't be imported: .*no"):
        restore_local_plugins([plugin])


def test_files_are_matched_by_name_and_content(tmp_path, file):
    [wanted] = read_local_plugins([file])
    assert match_local_plugins([], [wanted]) == []
    [copy] = read_local_plugins([write(tmp_path / "copy" / "my_loss.py")])
    assert match_local_plugins([wanted], [copy]) == [copy]
    with pytest.raises(PluginError, match=f"needs the local plugin 'my-loss'.* --plugin {file}"):
        match_local_plugins([wanted], [])
    [changed] = read_local_plugins([write(tmp_path / "changed" / "my_loss.py", CODE + "\n    y = 2\n")])
    with pytest.raises(PluginError, match=f"not the file that the run used: .*{changed.version}.*{wanted.version}"):
        match_local_plugins([wanted], [changed])
    [renamed] = read_local_plugins([write(tmp_path / "my-loss.py")])
    assert match_local_plugins([wanted], [renamed]) == [renamed]


def test_installed_plugins_are_as_they_were(installer, file):
    installer.install("sample-dist", {"sample": distributions.LOSS})
    names = [plugin.name for plugin in load_plugins(only=["sample"], local=read_local_plugins([file])).plugins]
    assert names == ["my-loss", "sample"]
