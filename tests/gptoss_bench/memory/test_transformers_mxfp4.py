"""The table against the installed transformers' own answers, and each way of staying packed or not."""

import inspect
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version

from gptoss_bench.memory.transformers_mxfp4 import (
    FAILS,
    STAYS,
    UNPACKED,
    TransformersSetup,
    installed_setup,
    mxfp4_rules,
    predict_mxfp4_decision,
    with_required_packages,
)
from gptoss_client.errors import UsageError

A10 = (8, 6)
RELEASES = sorted({rule.since for rule in mxfp4_rules()}, key=Version)
WHOLE = TransformersSetup(
    "5.23.0", triton="3.7.0", kernels="0.18.2", accelerate="1.12.0", capability=A10, kernels_at_hand=True
)


@pytest.mark.parametrize(
    ("changes", "outcome", "silent", "words"),
    [
        ({}, STAYS, False, "compute capability 8.6, triton 3.7.0 and kernels 0.18.2"),
        ({"kernels_at_hand": None}, STAYS, False, "if the hub or its cache provides the kernels"),
        ({"kernels_at_hand": False}, FAILS, False, "not in the hub's cache"),
        ({"kernels": "0.17.2"}, UNPACKED, True, "kernels is 0.17.2; kernels>=0.18.2,<0.19.0 is required"),
        ({"kernels": "0.19.0"}, UNPACKED, True, "kernels is 0.19.0"),
        ({"kernels": None}, UNPACKED, True, "kernels is not installed; kernels>=0.18.2,<0.19.0 is required"),
        ({"triton": None}, UNPACKED, True, "triton is not installed; 3.4.0"),
        ({"triton": "3.3.1"}, UNPACKED, True, "triton is 3.3.1"),
        ({"capability": (7, 0)}, UNPACKED, True, "7.0 is below 7.5"),
        ({"capability": (7, 5)}, STAYS, False, "7.5"),
        ({"dequantize": True}, UNPACKED, False, "requests it"),
        ({"use_kernels": True}, UNPACKED, True, "disables MXFP4"),
        ({"accelerate": None}, FAILS, False, "accelerate"),
        ({"capability": None}, UNPACKED, True, "needs use_kernels=True"),
        ({"capability": None, "use_kernels": True}, STAYS, False, "the CPU with use_kernels=True"),
        ({"capability": None, "triton": "3.4.0"}, UNPACKED, True, "3.5.0 or later"),
        ({"transformers": "5.15.1", "kernels": "0.16.4"}, STAYS, False, "5.15.1"),
        ({"transformers": "5.15.1"}, UNPACKED, True, "kernels>=0.16.0,<0.17.0"),
        ({"transformers": "4.57.6", "kernels": "0.4.0"}, STAYS, False, "kernels 0.4.0"),
        ({"transformers": "4.57.6", "capability": None}, UNPACKED, True, "no GPU"),
        ({"transformers": "4.55.0"}, UNPACKED, True, "triton_kernels is not installed"),
        (
            {"transformers": "4.55.0", "triton_kernels": "1.0.0"},
            FAILS,
            False,
            "8.6 is below 9.0, which this version refuses",
        ),
        ({"transformers": "4.55.0", "triton_kernels": "1.0.0", "capability": (9, 0)}, STAYS, False, "9.0"),
        ({"transformers": "4.55.0", "capability": None}, FAILS, False, "on a GPU only"),
        ({"transformers": "4.55.0", "capability": None, "dequantize": True}, FAILS, False, "on a GPU only"),
        ({"transformers": "4.57.6", "kernels": "0.4.0", "use_kernels": True}, UNPACKED, True, "disables MXFP4"),
    ],
)
def test_what_becomes_of_the_checkpoint_and_why(changes, outcome, silent, words):
    found = predict_mxfp4_decision(replace(WHOLE, **changes))
    assert (found.outcome, found.silent) == (outcome, silent)
    assert words in found.why
    assert found.dtype == {STAYS: "mxfp4", UNPACKED: "bf16", FAILS: ""}[outcome]
    assert bool(found.remedy) == (outcome == FAILS or silent)


def test_the_lines_that_the_table_cites_are_in_the_installed_transformers():
    import transformers

    folder = Path(inspect.getfile(transformers)).parent
    cited = [rule for rule in mxfp4_rules() if rule.source.startswith(f"v{transformers.__version__} ")]
    assert len(cited) >= 10
    for rule in cited:
        path, _, line = rule.source.partition(" src/transformers/")[2].partition(":")
        assert (folder / path).read_text().splitlines()[int(line) - 1].strip() == rule.code


def test_the_installed_transformers_has_the_bounds_that_the_table_says():
    from transformers.utils import import_utils

    version = Version(installed_setup().transformers)
    kernels = [rule for rule in mxfp4_rules() if rule.fact == "kernels" and not rule.before]
    [rule] = [rule for rule in kernels if Version(rule.since) <= version]
    assert (rule.at_least, rule.below) == (import_utils.KERNELS_MIN_VERSION, import_utils.KERNELS_MAX_VERSION)


@settings(max_examples=200)
@given(
    st.builds(
        TransformersSetup,
        st.just(installed_setup().transformers),
        triton=st.sampled_from([None, "3.3.1", "3.4.0", "3.5.0"]),
        kernels=st.sampled_from([None, "0.17.2", "0.18.2", "0.19.0"]),
        accelerate=st.sampled_from([None, "1.12.0"]),
        capability=st.sampled_from([None, (7, 0), (7, 5), A10]),
        kernels_at_hand=st.just(True),
        dequantize=st.booleans(),
        use_kernels=st.booleans(),
    )
)
def test_any_setup_is_decided_as_transformers_itself_decides(setup):
    """Its own checks run, with the setup in the place of this machine's packages and GPU."""
    import torch
    from transformers import integrations
    from transformers.quantizers import quantizer_mxfp4
    from transformers.utils import import_utils
    from transformers.utils.quantization_config import Mxfp4Config

    def installed(package, return_version=False):
        found = getattr(setup, package)
        return (found is not None, found or "N/A") if return_version else found is not None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(integrations, "replace_with_mxfp4_linear", lambda model, **_: model)
        device = None if setup.capability is None else torch.device("cuda")
        patch.setattr(quantizer_mxfp4, "get_current_accelerator", lambda: device)
        patch.setattr(torch.cuda, "is_available", lambda: device is not None)
        patch.setattr(torch.cuda, "get_device_capability", lambda: setup.capability)
        patch.setattr(quantizer_mxfp4, "is_accelerate_available", lambda: setup.accelerate is not None)
        patch.setattr(import_utils, "_is_package_available", installed)
        for check in ("is_triton_available", "is_kernels_available"):
            patch.setattr(quantizer_mxfp4, check, getattr(import_utils, check).__wrapped__)
        quantizer = quantizer_mxfp4.Mxfp4HfQuantizer(Mxfp4Config(dequantize=setup.dequantize))
        quantizer.pre_quantized = True
        quantizer.get_modules_to_not_convert = lambda *_: []
        model = torch.nn.Identity()
        model._keep_in_fp32_modules = None
        try:
            quantizer.validate_environment()
            quantizer._process_model_before_weight_loading(model, use_kernels=setup.use_kernels)
        except ImportError:
            outcome = FAILS
        else:
            outcome = UNPACKED if quantizer.quantization_config.dequantize else STAYS
    assert predict_mxfp4_decision(setup).outcome == outcome


@given(
    st.sampled_from(RELEASES),
    st.sampled_from(["3.0.0", "3.4.0", "4.0"]),
    st.tuples(st.integers(5, 12), st.integers(0, 9)),
)
def test_asking_to_unpack_always_unpacks_and_more_never_hurts(release, triton, capability):
    setup = replace(WHOLE, transformers=release, triton=triton, capability=capability)
    assert predict_mxfp4_decision(replace(setup, dequantize=True)).outcome == UNPACKED
    if predict_mxfp4_decision(setup).outcome == STAYS:
        assert predict_mxfp4_decision(replace(setup, triton="9.9", capability=(99, 0))).outcome == STAYS


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("capability", [A10, (9, 0)])
def test_a_completed_setup_stays_packed_on_a_gpu_that_is_new_enough(release, capability):
    complete = with_required_packages(TransformersSetup(release, capability=capability))
    refused = release == "4.55.0" and capability == A10
    assert predict_mxfp4_decision(complete).outcome == (FAILS if refused else STAYS)


@pytest.mark.parametrize(("release", "read"), [("5.9.1", "5.5.4"), ("5.17.0", "5.15.1"), ("6.0.0.dev0", "5.24.0")])
def test_versions_between_two_that_were_read_do_as_the_earlier_one(release, read):
    rule = predict_mxfp4_decision(replace(WHOLE, transformers=release, kernels="0.1")).rule
    assert rule.fact == "kernels"
    assert rule.source.startswith(f"v{read} ")


def test_each_row_is_of_known_words_and_names_its_source():
    for rule in mxfp4_rules():
        assert rule.outcome in (STAYS, UNPACKED, FAILS)
        assert rule.silent in ("yes", "no")
        assert rule.device in ("", "gpu", "cpu")
        assert rule.source
        assert rule.code
        assert bool(rule.fact) == bool(rule.at_least or rule.equals)


@pytest.mark.parametrize(("setup", "words"), [("4.54.0", "has no gpt-oss"), ("new", "is not a version")])
def test_a_version_that_cannot_be_is_refused(setup, words):
    with pytest.raises(UsageError, match=words):
        predict_mxfp4_decision(TransformersSetup(setup))
