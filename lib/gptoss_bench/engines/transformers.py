"""The server of Hugging Face transformers, where it is installed with what serving needs."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from gptoss_bench.engines.launch import executable
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.engines.model_files import count_parameters, hub_cache, local_model, require_disk_space_for
from gptoss_bench.engines.registry import version_notes
from gptoss_bench.engines.server_facts import add_facts
from gptoss_bench.runs import CPU_LABEL, installed_gpus, join_labels, model_label
from gptoss_client import Endpoint, UsageError

ADVICE = "install it with make setup-transformers"


@dataclass(frozen=True, slots=True)
class Transformers:
    """`transformers serve MODEL` with its own defaults where nothing else is said; `flags` are added as they are."""

    model: str
    flags: tuple[str, ...] = ()
    log_name: str = "transformers.log"

    @classmethod
    def from_choice(cls, server: ServerChoice, slots: int) -> "Transformers":
        """Return the engine with the model and flags of `server`; it needs no number of slots."""
        return cls(server.model, server.arguments)

    @property
    def cwd(self) -> Path | None:
        """Where the checkpoint lies: it answers only to the name that it was started with, and that is no path then."""
        folder = local_model(self.model)
        return None if folder is None else folder.parent

    def prepare(self) -> Endpoint:
        """Raise UsageError where there is no transformers, no such checkpoint, or too little disk space."""
        program = executable("transformers", "transformers", ADVICE)
        folder = local_model(self.model)
        if folder is None:
            require_disk_space_for(self.model)
        parameters = count_parameters(folder) if folder else None
        # The folder of the hub's cache has to be there, or the server answers 500 where it is to list its models.
        try:
            hub_cache().mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make the folder {hub_cache()}: {error.strerror}; name one by HF_HOME") from error
        endpoint = Endpoint(
            url="",
            model=folder.name if folder else self.model,
            dialect="openai",
            engine="transformers",
            version=installed_version(Path(program)),
            label=join_labels(model_label(self.model, parameters), None if installed_gpus() else CPU_LABEL),
        )
        return add_facts(endpoint, {"parameters": parameters})

    def command(self, port: int) -> list[str]:
        """The server of one model."""
        folder = local_model(self.model)
        program, model = executable("transformers", "transformers", ADVICE), folder.name if folder else self.model
        return [program, "serve", model, "--host", "127.0.0.1", "--port", str(port), *self.flags]

    def environment(self, port: int) -> dict[str, str]:
        """It is not to ask the hub about a checkpoint that is here."""
        return {} if local_model(self.model) is None else {"HF_HUB_OFFLINE": "1"}

    async def describe(self, http: httpx.AsyncClient, endpoint: Endpoint, log: str) -> Endpoint:
        """Its log tells where MXFP4 was given up for BF16; its API tells nothing."""
        dequantised = "dequantiz" in log
        notes = ["transformers says that it took the MXFP4 weights apart to BF16"] if dequantised else []
        found = add_facts(endpoint, {"dequantised": dequantised or None}, *notes)
        found = replace(found, quantisation="BF16" if dequantised else found.quantisation)
        return await describe_transformers(http, found)


async def describe_transformers(_http: httpx.AsyncClient, endpoint: Endpoint) -> Endpoint:
    """What can be said of any such server: it names no version of its own. A model in a folder here is counted."""
    folder = Path(endpoint.model.partition("@")[0])
    parameters = count_parameters(folder) if folder.is_absolute() else None
    labelled = replace(endpoint, label=endpoint.label or model_label(endpoint.model, parameters))
    return add_facts(labelled, {"parameters": parameters}, *version_notes("transformers", endpoint.version))


def installed_version(program: Path) -> str | None:
    """The version of the transformers beside its program, by the name of its metadata's folder."""
    for folder in sorted(program.parent.parent.glob("lib/python*/site-packages/transformers-*.dist-info")):
        if found := re.match(r"transformers-(.+)\.dist-info", folder.name):
            return found[1]
    return None
