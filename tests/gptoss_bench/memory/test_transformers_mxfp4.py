"""The rules against the installed transformers' own answers, and each way of staying packed or not."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from gptoss_bench.memory.transformers_mxfp4 import (
    FAILS,
    RULES,
    STAYS,
    UNPACKED,
    TransformersSetup,
    installed_setup,
    predict_mxfp4_decision,
    rule_for,
    with_required_packages,
)
from gptoss_client.errors import UsageError

A10 = (8, 6)
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
        ({"kernels": None}, UNPACKED, True, "kernels is not installed"),
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
    ],
)
def test_what_becomes_of_the_checkpoint_and_why(changes, outcome, silent, words):
    found = predict_mxfp4_decision(replace(WHOLE, **changes))
    assert (found.outcome, found.silent) == (outcome, silent)
    assert words in found.why
    assert found.dtype == {STAYS: "mxfp4", UNPACKED: "bf16", FAILS: ""}[outcome]
    assert bool(found.remedy) == (outcome == FAILS or silent)


def test_the_installed_transformers_has_the_bounds_that_its_rule_says():
    from transformers.utils import import_utils

    rule = rule_for(installed_setup().transformers)
    assert rule.kernels == (import_utils.KERNELS_MIN_VERSION, import_utils.KERNELS_MAX_VERSION)


def test_this_machines_case_is_what_transformers_itself_decides(tmp_path):
    from transformers.quantizers.quantizer_mxfp4 import Mxfp4HfQuantizer
    from transformers.utils import is_accelerate_available
    from transformers.utils.quantization_config import Mxfp4Config

    here = installed_setup()
    found = predict_mxfp4_decision(here)
    quantizer = Mxfp4HfQuantizer(Mxfp4Config())
    quantizer.pre_quantized = True
    if not is_accelerate_available():
        with pytest.raises(ImportError, match="Accelerate"):
            quantizer.validate_environment()
        assert found.outcome == FAILS
        assert "accelerate" in found.why
        return
    quantizer.validate_environment()
    if here.capability is not None:
        assert quantizer.quantization_config.dequantize == (found.outcome == UNPACKED)


@given(
    st.sampled_from(RULES), st.sampled_from(["3.0.0", "3.4.0", "4.0"]), st.tuples(st.integers(5, 12), st.integers(0, 9))
)
def test_asking_to_unpack_always_unpacks_and_more_never_hurts(rule, triton, capability):
    setup = replace(WHOLE, transformers=rule.version, triton=triton, capability=capability)
    assert predict_mxfp4_decision(replace(setup, dequantize=True)).outcome == UNPACKED
    if predict_mxfp4_decision(setup).outcome == STAYS:
        assert predict_mxfp4_decision(replace(setup, triton="9.9", capability=(99, 0))).outcome == STAYS


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.version)
def test_a_completed_setup_stays_packed_on_a_gpu_that_is_new_enough(rule):
    assert (
        predict_mxfp4_decision(with_required_packages(TransformersSetup(rule.version, capability=(9, 0)))).outcome
        == STAYS
    )
    assert (
        predict_mxfp4_decision(with_required_packages(TransformersSetup(rule.version, capability=A10))).outcome == STAYS
    ) == (rule.version != "4.55.0")


def test_versions_between_two_that_were_read_do_as_the_earlier_one():
    assert rule_for("5.9.1").version == "5.5.4"
    assert rule_for("6.0.0.dev0").version == RULES[-1].version
    versions = [Version(rule.version) for rule in RULES]
    assert versions == sorted(versions)


@pytest.mark.parametrize(("setup", "words"), [("4.54.0", "has no gpt-oss"), ("new", "is not a version")])
def test_a_version_that_cannot_be_is_refused(setup, words):
    with pytest.raises(UsageError, match=words):
        predict_mxfp4_decision(TransformersSetup(setup))
