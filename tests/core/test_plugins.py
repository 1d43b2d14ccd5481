from __future__ import annotations

import sys

import pytest

import distributions
import icf
from distributions import LOSS
from icf.errors import PluginError, UsageError
from icf.plugins import Catalogue, PluginInfo, Status, load_object, load_plugins, plugin_names

installer = pytest.fixture(distributions.installer)


def load_one(installer, code, name="sample", **options) -> PluginInfo:
    installer.install("sample-dist", {"sample_plugin": code}, entry_points={name: "sample_plugin"}, **options)
    [plugin] = load_plugins(only=[name]).plugins
    return plugin


def message_of(function, *arguments) -> str:
    with pytest.raises(PluginError) as caught:
        function(*arguments)
    return str(caught.value)


def test_a_plugin_loads_with_its_source_and_components(installer):
    plugin = load_one(installer, LOSS, version="3.1")
    assert (plugin.status, plugin.reason, plugin.problem) == (Status.ok, None, "")
    assert (plugin.module, plugin.distribution, plugin.version) == ("sample_plugin", "sample-dist", "3.1")
    assert [(item.kind, item.name) for item in plugin.components] == [("loss", "poly")]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("def broken(:", "SyntaxError"),
        ("import icf\n@icf.hookimpl\ndef icf_losses(loss): return []", "icf_losses takes no argument, and not 'loss'"),
        (
            "import icf\n@icf.hookimpl\ndef icf_loses(): return []",
            "there is no hook 'icf_loses'; did you mean 'icf_losses'?",
        ),
        ("import icf\n@icf.hookimpl\ndef icf_losses(): return None", "icf_losses returned None"),
        ("import icf\n@icf.hookimpl\ndef icf_losses(): return 3", "'int' object is not iterable"),
        ("import icf\n@icf.hookimpl\ndef icf_losses(): yield 'focal'", "yields builtins.str, not icf.Loss"),
        ("import icf\n@icf.hookimpl\ndef icf_losses():\n  yield 1 / 0", "ZeroDivisionError"),
        ("def icf_losses(): return []", "icf_losses is not marked with @icf.hookimpl"),
    ],
)
def test_a_broken_plugin_fails_with_a_reason_of_one_line(installer, code, reason):
    plugin = load_one(installer, code)
    assert plugin.status is Status.failed
    assert reason in plugin.reason
    assert "\n" not in plugin.problem
    assert plugin.components == ()


DESCRIPTOR = """
    import icf
    @icf.hookimpl
    def icf_losses():
        class Inside(icf.Params):
            pass
        yield icf.Loss(**({{"name": "a", "factory": "m:f", "summary": ""}} | {{{change}}}))
"""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("'name': 'Focal_Loss'", "loss name 'Focal_Loss' is not made of lower-case letters"),
        ("'name': '-a'", "'-a'"),
        ("'name': 'a\\n'", "is not made of"),
        ("'factory': 'module.function'", "'module.function' is not 'package.module:function'"),
        ("'factory': len", "is not 'package.module:function'"),
        ("'params': dict", "params is no subclass of icf.Params"),
        ("'params': Inside", "Inside is defined inside a function"),
    ],
)
def test_a_malformed_descriptor_fails(installer, change, reason):
    plugin = load_one(installer, DESCRIPTOR.format(change=change))
    assert plugin.status is Status.failed
    assert reason in plugin.reason


def test_a_descriptor_of_another_kind_fails(installer):
    code = "import icf\n@icf.hookimpl\ndef icf_losses(): yield icf.Metric(name='a', factory='m:f', summary='')"
    assert load_one(installer, code).reason == "icf_losses yields icf.Metric, not icf.Loss"


def test_one_broken_plugin_leaves_the_others_alone(installer):
    installer.install("good-dist", {"good_plugin": LOSS})
    installer.install("bad-dist", {"bad_plugin": "1 / 0"})
    found = {plugin.name: plugin.status for plugin in load_plugins(only=["good-plugin", "bad-plugin"]).plugins}
    assert found == {"bad-plugin": Status.failed, "good-plugin": Status.ok}


def test_a_plugin_name_must_be_writable_in_a_recipe(installer):
    assert "plugin name 'My_Plugin'" in load_one(installer, LOSS, name="My_Plugin").reason


def test_two_components_of_one_kind_and_name_are_a_conflict(installer):
    code = """
    import icf
    @icf.hookimpl
    def icf_metrics():
        for _ in range(2):
            yield icf.Metric(name="kappa", factory="m:f", summary="")
    """
    plugin = load_one(installer, code)
    assert plugin.status is Status.conflict
    assert plugin.reason == "offers 2 components of kind metric named 'kappa'"


def test_two_distributions_with_one_plugin_name_are_a_conflict_and_not_imported(installer):
    for number in (1, 2):
        installer.install(
            f"dist-{number}",
            {f"claim_{number}": LOSS},
            version=f"{number}.0",
            entry_points={"same": f"claim_{number}"},
        )
    [plugin] = load_plugins(only=["same"]).plugins
    assert plugin.status is Status.conflict
    assert "dist-1 1.0" in plugin.reason
    assert "dist-2 2.0" in plugin.reason
    assert not {"claim_1", "claim_2"} & set(sys.modules)


@pytest.mark.parametrize(
    ("required", "status"),
    [
        (f">={icf.__version__}", Status.ok),
        (">=999", Status.incompatible),
        ("not a version", Status.failed),
    ],
)
def test_a_plugin_may_require_a_version_of_icf(installer, required, status):
    plugin = load_one(installer, f"icf_requires = {required!r}")
    assert plugin.status is status
    if status is Status.incompatible:
        assert plugin.reason == f"requires icf>=999, this is {icf.__version__}"


@pytest.mark.parametrize("way", ["argument", "environment"])
def test_a_blocked_plugin_is_never_imported(installer, monkeypatch, way):
    installer.install("sample-dist", {"sample_plugin": LOSS}, entry_points={"sample": "sample_plugin"})
    if way == "environment":
        monkeypatch.setenv("ICF_DISABLE_PLUGINS", "other, sample")
    catalogue = load_plugins(only=["sample"], blocked=["sample"] if way == "argument" else ())
    assert catalogue.plugins[0].status is Status.blocked
    assert "sample_plugin" not in sys.modules
    assert "is blocked" in message_of(catalogue.find, "loss", "sample/poly")


def test_blocking_a_plugin_that_does_not_exist_is_an_error(installer):
    installer.install("sample-dist", {"sample_plugin": LOSS}, entry_points={"sample": "sample_plugin"})
    with pytest.raises(UsageError, match="no plugin 'sampel' is installed; did you mean 'sample'"):
        load_plugins(only=[], blocked=["sampel"])


def test_plugins_that_were_not_asked_for_are_not_imported(installer):
    installer.install("sample-dist", {"sample_plugin": LOSS}, entry_points={"sample": "sample_plugin"})
    catalogue = load_plugins(only=[])
    assert catalogue.plugins == ()
    assert "sample" in catalogue.installed
    assert "sample_plugin" not in sys.modules


@pytest.fixture
def catalogue(installer) -> Catalogue:
    observer = "import icf\n@icf.hookimpl\ndef icf_run_end(event): pass"
    installer.install("sample-dist", {"loss_plugin": LOSS, "watch_plugin": observer, "bad_plugin": "1 / 0"})
    return load_plugins(only=["loss-plugin", "watch-plugin", "bad-plugin"])


def test_find_returns_the_descriptor_and_its_plugin(catalogue):
    entry = catalogue.find("loss", "loss-plugin/poly")
    assert (entry.kind, entry.descriptor.name, entry.plugin.name) == ("loss", "poly", "loss-plugin")
    assert catalogue.entries("loss") == (entry,)
    assert catalogue.entries("metric") == ()


@pytest.mark.parametrize(
    ("kind", "ref", "message"),
    [
        (
            "loss",
            "poly",
            "'poly' is not a name of the form 'plugin/component'; did you mean 'loss-plugin/poly'",
        ),
        ("loss", "loss-plugin/", "is not a name of the form"),
        ("loss", "loss-plugin/poly/x", "is not a name of the form"),
        ("loss", "los-plugin/poly", "no plugin 'los-plugin' is installed; did you mean 'loss-plugin'"),
        ("loss", "loss-plugin/ploy", "has no loss 'ploy'; did you mean 'loss-plugin/poly'"),
        ("metric", "loss-plugin/poly", "'loss-plugin/poly' is of kind loss, not metric"),
        ("metric", "loss-plugin/kappa", "has no metric 'kappa', nor any other metric"),
        ("loss", "bad-plugin/x", "(sample-dist 1.0) does not load: ZeroDivisionError: division by zero"),
        ("loss", "metric/accuracy", "'metric' is installed, but was not asked for"),
    ],
)
def test_find_says_why_there_is_none(catalogue, kind, ref, message):
    assert message in message_of(catalogue.find, kind, ref)


def test_only_plugins_with_event_hooks_are_observers(catalogue):
    assert catalogue.observer("watch-plugin").events == ("icf_run_end",)
    message = message_of(catalogue.observer, "loss-plugin")
    assert message.startswith("plugin 'loss-plugin' is no observer")
    assert "watch-plugin" in message


def test_problems_are_the_plugins_that_are_not_ok(catalogue):
    assert [plugin.name for plugin in catalogue.problems()] == ["bad-plugin"]


def test_plugin_names():
    assert plugin_names(["loss/focal", "loss/poly", "tensorboard"]) == {"loss", "tensorboard"}


def test_load_object_follows_dotted_names():
    assert load_object("icf.params") is sys.modules["icf.params"]
    assert load_object("icf.params:Params.model_validate") == icf.Params.model_validate


@pytest.mark.parametrize("path", ["no_such_package.module:f", "icf.params:Nothing", "icf.params:Params.nothing", ""])
def test_load_object_refuses_what_does_not_resolve(path):
    with pytest.raises(PluginError, match="can't be imported"):
        load_object(path)


def test_every_built_in_plugin_has_the_name_of_its_package():
    for plugin in load_plugins().plugins:
        if plugin.distribution == "icf":
            assert plugin.module == f"icf_{plugin.name}.plugin"
