from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer
from docs.reference import __main__ as reference
from docs.reference import commands as commands_page
from docs.reference import hooks as hooks_page
from docs.reference import tutorial
from PIL import Image

import distributions
import icf
import icf.testing
import training
from icf import hookspecs
from icf.cli.main import app, main
from icf.components import KINDS
from icf.executors.placement import SHORT_WORK
from icf.overrides import merge
from icf.pipeline.files import read_json, read_table
from icf.plan import make_plan
from icf.plugins import EVENT_HOOKS, Status, hook_name, load_plugins
from icf.testing import Outcome, run_checks

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
BASE = {"dataset": {"use": "sklearn/digits"}, "model": {"use": "nn/sequential-cnn"}}

installer = pytest.fixture(distributions.installer)


def load_file(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def find_blocks(page, language):
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"(<!-- wrong -->\n)?^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def slug(heading):
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def find_anchors(path):
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


@pytest.fixture
def tutorial_package(installer, monkeypatch, tmp_path):
    """The package of the tutorial after it has grown, installed as its pyproject.toml says."""
    install_package(tmp_path, installer, monkeypatch, tutorial.GROWN)


def install_package(folder, installer, monkeypatch, kinds):
    for place, text in tutorial.list_files(kinds).items():
        path = folder / "package" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    project = tomllib.loads((folder / "package/pyproject.toml").read_text())["project"]
    installer.install(project["name"], {}, version=project["version"], entry_points=project["entry-points"]["icf"])
    monkeypatch.syspath_prepend(folder / "package/src")
    installer.modules += [f"icf_my_losses{name}" for name in ("", ".plugin", ".loss", ".metric")]
    return folder / "package"


@pytest.mark.parametrize("part", reference.PARTS)
def test_generated_parts_are_up_to_date(part):
    path, text = reference.render(part)
    assert path.read_text(encoding="utf-8") == text, "run: python -m docs.reference"


def test_the_generator_says_what_is_out_of_date_and_writes_it(tmp_path, monkeypatch, capsys):
    shutil.copytree(DOCS, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(reference, "DOCS", tmp_path)
    page = tmp_path / "components.md"
    good = page.read_text()
    page.write_text(good.replace("### loss/focal", "### loss/fokal"))
    assert reference.main(["--check"]) == 1
    assert capsys.readouterr().out == "out of date: components.md\n"
    assert reference.main([]) == 0
    assert page.read_text() == good


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_resolve(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:")):
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), target
        if anchor:
            assert anchor in find_anchors(path), target


def list_commands():
    for page in PAGES:
        for _, block in find_blocks(page, "sh"):
            for line in block.splitlines():
                for command in re.findall(r"(?:^|-- )(icf .*)", line):
                    yield pytest.param(command, id=f"{page.stem}: {command}")


@pytest.mark.parametrize("command", list(list_commands()))
def test_commands_parse(command):
    group = typer.main.get_command(app)
    arguments = shlex.split(command)[1:]
    name, subcommand, rest = group.resolve_command(group.make_context("icf", [*arguments[:1]]), arguments)
    assert name == arguments[0]
    if hasattr(subcommand, "commands"):
        name, subcommand, rest = subcommand.resolve_command(subcommand.make_context(name, rest[:1]), rest)
    subcommand.make_context(name, rest)


def list_inline_commands():
    return sorted(
        {name for page in PAGES for name in re.findall(r"`icf ([a-z][a-z-]*)", page.read_text(encoding="utf-8"))}
    )


def test_commands_named_in_sentences_exist():
    named = list_inline_commands()
    assert named
    assert set(named) <= set(typer.main.get_command(app).commands)


def list_recipes():
    for page in PAGES:
        for number, (wrong, block) in enumerate(find_blocks(page, "toml")):
            if not wrong and "[build-system]" not in block:
                yield pytest.param(block, id=f"{page.stem}-{number}")


@pytest.mark.parametrize("block", list(list_recipes()))
def test_recipes_and_parts_of_recipes_are_accepted(block, tutorial_package):
    raw = tomllib.loads(block)
    raw.pop("extends", None)
    assert make_plan(merge(BASE, raw), load_plugins(), "docs").recipe.dataset.use


def test_the_errors_shown_are_those_of_the_wrong_recipe(tmp_path, capsys):
    [block] = [block for wrong, block in find_blocks(DOCS / "recipes.md", "toml") if wrong]
    recipe = tmp_path / "photos.toml"
    recipe.write_text(block)
    assert main(["check", "--recipe-only", str(recipe)]) == 2
    assert capsys.readouterr().err in [text for _, text in find_blocks(DOCS / "recipes.md", "text")]


def test_ten_lines_make_a_recipe_that_runs(tmp_path, monkeypatch, capsys):
    text = (DOCS / "quickstart.md").read_text()
    [recipe] = re.findall(r"Ten lines make a recipe, `photos.toml`:\n\n```toml\n(.*?)```", text, re.DOTALL)
    assert len(recipe.splitlines()) == 10
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))
    Path("photos.toml").write_text(recipe)
    for number in range(20):
        path = Path("photos/train", "cat" if number % 2 else "dog", f"{number:04d}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (10 * number, 60, 60)).save(path)
    Path("photos/test").mkdir()
    Image.new("RGB", (32, 32), (0, 255, 0)).save("photos/test/a.jpg")
    assert main(["check", "photos.toml"]) == 0
    assert "ready: icf run photos.toml" in capsys.readouterr().out


def list_documented_classes():
    for cls in map(vars(icf).get, icf.__all__):
        if dataclasses.is_dataclass(cls) and cls is not icf.Problem:
            yield pytest.param(cls, id=cls.__name__)


@pytest.mark.parametrize("cls", list(list_documented_classes()))
def test_every_descriptor_context_and_event_field_is_documented(cls):
    assert cls.__doc__
    assert not cls.__doc__.startswith(f"{cls.__name__}("), "the docstring is dataclass's own"
    missing = [name for name, _, _ in hooks_page.list_fields(cls) if not hooks_page.find_meaning(cls, name)]
    assert missing == [], f"fields of {cls.__name__} without a docstring below them"
    assert f"#### {cls.__name__}\n" in (DOCS / "plugins/hooks.md").read_text()


def test_every_descriptor_context_and_event_is_public():
    for module in (icf.components, icf.events):
        for name, cls in vars(module).items():
            assert not dataclasses.is_dataclass(cls) or name in icf.__all__


HOOKS = [name for name in vars(hookspecs) if name.startswith("icf_")]


def test_hooks_are_those_of_components_and_events():
    assert sorted(HOOKS) == sorted([*map(hook_name, KINDS), *EVENT_HOOKS])


@pytest.mark.parametrize("hook", HOOKS)
def test_the_page_shows_the_example_of_every_hook(hook):
    text = (DOCS / "plugins/hooks.md").read_text()
    [shown] = re.findall(rf"^### {hook}\n.*?^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert shown == hooks_page.find_example(hook) + "\n"
    assert f"@icf.hookimpl\ndef {hook}(" in shown


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_of_a_component_hook_keeps_the_contract(kind, installer, tmp_path):
    installer.install("my-dist", {"my_plugin": hooks_page.find_example(hook_name(kind))})
    results = list(run_checks("my-plugin", tmp_path))
    assert {result.component for result in results} > {""}
    assert [(item.check, item.outcome, item.reason) for item in results if item.outcome is not Outcome.ok] == []


def test_the_examples_of_event_hooks_hear_a_run(installer, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))
    names = {hook: hook.replace("_", "-") + "-example" for hook in EVENT_HOOKS}
    for hook, name in names.items():
        installer.install(name, {name.replace("-", "_"): hooks_page.find_example(hook)})
    observers = json.dumps(list(names.values()))
    settings = [*training.SMALL, "train.epochs=1", 'compute.executor="inline"', f"observers={observers}"]
    options = [part for setting in settings for part in ("--set", setting)]
    assert main(["run", str(training.DIGITS), "--runs", str(tmp_path), "--quiet", *options]) == 0
    out, err = capsys.readouterr()
    assert err == "", "an observer that raises is reported there"
    for fold in range(3):
        assert f"fold {fold} starts\nfold {fold} epoch 0 loss " in out
        assert f"fold {fold} ends with {{'metric/macro-f1'" in out
    assert out.startswith("digits writes to ")
    assert "\nscore {'metric/macro-f1'" in out


GENERATED = re.compile(r"<!-- generated by docs\.reference: .*?<!-- end of the generated part -->", re.DOTALL)


@pytest.mark.parametrize("page", ["writing.md", "testing.md"])
def test_code_in_the_guides_to_plugins_is_cut_from_files_that_are_tested(page):
    text = GENERATED.sub("", (DOCS / "plugins" / page).read_text())
    assert re.findall(r"^```(?!sh$|text$)\w+$", text, re.MULTILINE) == []


def test_who_adds_what_the_tutorial_shows_has_the_package_with_two_kinds(tmp_path):
    grown = tutorial.list_files(tutorial.KINDS)
    plugin, recipe = "src/icf_my_losses/plugin.py", "recipe.toml"
    added = {place: "\n".join(tutorial.quote_addition(place)[1:-1]) + "\n" for place in (plugin, recipe)}
    grown[plugin] += "\n\n" + added[plugin]
    grown[recipe] = grown[recipe].replace("[transforms]", added[recipe] + "\n[transforms]")
    for place in ("src/icf_my_losses/metric.py", "tests/test_metric.py"):
        grown[place] = "\n".join(tutorial.quote_addition(place)[1:-1]) + "\n"
    grown["README.md"] = tutorial.list_files(tutorial.GROWN)["README.md"]
    assert grown == tutorial.list_files(tutorial.GROWN)


def test_the_tutorials_package_loads_without_torch(tutorial_package, tmp_path):
    [plugin] = load_plugins(only=["my-losses"]).plugins
    assert (plugin.status, plugin.source) == (Status.ok, "icf-my-losses 0.1.0")
    code = "import sys, icf_my_losses.plugin; sys.exit('torch' in sys.modules)"
    folder = tmp_path / "package/src"
    assert subprocess.run([sys.executable, "-c", code], cwd=folder, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("epsilon", [-1.0, 0.0, 2.5])
def test_the_tutorials_loss_passes_its_own_test(epsilon, tutorial_package, tmp_path):
    load_file(tmp_path / "package/tests/test_loss.py").test_poly_is_the_formula_of_the_paper(epsilon)


LOCAL = ["--plugin", str(DOCS / "plugins/my_loss.py")]


@pytest.mark.parametrize(("plugin", "options"), [("my-loss", LOCAL), ("my-losses", [])], ids=["file", "package"])
def test_the_tutorials_losses_train(plugin, options, tutorial_package, tmp_path, monkeypatch):
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))
    settings = ["split.method=group-holdout", "train.epochs=3", "model.widths=[8,16]", "optimizer.lr=0.02"]
    settings += [f"loss.use={plugin}/poly", "loss.epsilon=2.0"]
    options = [*options, *(part for setting in settings for part in ("--set", setting))]
    assert main(["run", str(ROOT / "recipes/digits.toml"), "--runs", str(tmp_path), "--quiet", *options]) == 0
    [run_dir] = (tmp_path / "digits").iterdir()
    plan, metrics = read_json(run_dir / "plan.json"), read_json(run_dir / "metrics.json")
    assert (plan["loss"]["ref"], plan["loss"]["params"]) == (f"{plugin}/poly", {"epsilon": 2.0})
    assert metrics["oof"]["metric/accuracy"]["value"] > 0.5


def test_the_loss_in_one_file_is_that_of_the_package(tutorial_package, tmp_path):
    torch = pytest.importorskip("torch")
    one_file, package = load_file(DOCS / "plugins/my_loss.py"), load_file(tmp_path / "package/tests/test_loss.py")
    logits, targets = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 3, 0])
    found, expected = (
        factory(params(epsilon=2.0), None)(logits, targets)
        for factory, params in ((one_file.build_poly, one_file.PolyParams), (package.build_poly, package.PolyParams))
    )
    assert torch.equal(found, expected)


PENALTY = DOCS / "plugins/my_penalty.py"


def test_a_loss_around_another_keeps_the_contract_and_trains(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))
    assert main(["check-plugin", str(PENALTY)]) == 0
    settings = [*training.SMALL, "train.epochs=1", "loss.use=my-penalty/entropy", "loss.of=loss/focal"]
    options = ["--plugin", str(PENALTY), *(part for setting in settings for part in ("--set", setting))]
    recipe = str(ROOT / "recipes/digits.toml")
    assert main(["run", recipe, "--runs", str(tmp_path), "--quiet", *options]) == 0
    capsys.readouterr()
    wrong = ["--set", 'loss.of={use="loss/focal", gamma=-1}']
    assert main(["check", recipe, "--recipe-only", *options, *wrong]) == 2
    assert "loss.of.gamma" in capsys.readouterr().err


def test_the_loss_around_another_takes_the_entropy_off(tmp_path):
    torch = pytest.importorskip("torch")
    logits, targets = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 3, 0])
    module = load_file(PENALTY)
    params = module.EntropyParams(of="loss/cross-entropy", beta=0.3)
    params.of.bind(lambda _ctx: torch.nn.CrossEntropyLoss())
    entropy = torch.distributions.Categorical(logits=logits).entropy().mean()
    expected = torch.nn.functional.cross_entropy(logits, targets) - 0.3 * entropy
    assert torch.allclose(module.build_entropy(params, None)(logits, targets), expected)


def test_every_environment_variable_of_icf_is_described():
    sources = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "framework").rglob("*.py"))]
    named = {name for text in sources for name in re.findall(r"\bICF_[A-Z_]+", text)}
    assert named == {name for name in commands_page.VARIABLES if name.startswith("ICF_")}


def test_every_command_has_a_section_and_every_exit_code_a_row():
    text = (DOCS / "commands.md").read_text()
    for name, _ in commands_page.list_commands(typer.main.get_command(app)):
        assert f"## icf {name}\n" in text
    assert re.findall(r"^\| `(\d+)` \|", text, re.MULTILINE) == ["0", "1", "2", "70", "130", "141"]


def test_the_page_about_executors_tells_the_limit_of_short_work():
    assert f"below {SHORT_WORK // 1_000_000} million" in (DOCS / "cluster.md").read_text()


def test_every_public_name_is_on_the_page_of_the_python_api():
    headings = re.findall(r"^### icf\.(.+)$", (DOCS / "api.md").read_text(), re.MULTILINE)
    assert {*icf.__all__, *(f"testing.{name}" for name in icf.testing.__all__)} <= set(headings)


def test_the_python_example_runs_and_every_file_of_its_run_is_described(tmp_path, monkeypatch, capsys):
    (_, code), *_ = find_blocks(DOCS / "api.md", "python")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))
    shutil.copytree(ROOT / "recipes", "recipes")
    exec(compile(code, "api.md", "exec"), {"__name__": "api"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("fold 0, epoch 1/2: {'metric/macro-f1'")
    assert lines[-1].startswith("('0', '1', '2', '3', '4', '5', '6', '7', '8', '9') [")
    [run_dir] = (tmp_path / "runs/digits").iterdir()
    assert list(list_undescribed(run_dir)) == []


def list_undescribed(run_dir):
    text = (DOCS / "run-folder.md").read_text()
    names = set(re.findall(r"[\w.-]+\.\w+", text))
    for path in sorted(run_dir.rglob("*")):
        if path.is_file() and path.parent.name != "stages":
            if path.name not in names:
                yield path.name
            yield from (f"{path.name}: {key}" for key in list_keys(path) if f"`{key}`" not in text)


def list_keys(path):
    """What a file holds, but for columns that are named after classes, metrics or components."""
    if path.name == "plan.json" or path.suffix not in {".json", ".csv", ".parquet"}:
        return []
    if path.suffix == ".json":
        return read_json(path)
    columns = path.read_text().splitlines()[0].split(",") if path.suffix == ".csv" else read_table(path)
    is_submission = path.name == "submission.csv"
    return [] if is_submission else [name for name in columns if not name.startswith(("p_", "metric/"))]
