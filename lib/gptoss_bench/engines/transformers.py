"""Launch the server of Hugging Face transformers and read what its log reports."""

from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from gptoss_bench.engines.launch import executable, version_beside
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.engines.model_files import (
    checkpoint_label,
    count_parameters,
    hub_cache,
    local_model,
    require_disk_space_for,
)
from gptoss_bench.engines.registry import version_notes
from gptoss_bench.engines.server_facts import add_facts
from gptoss_bench.runs import CPU_LABEL, installed_gpus, join_labels
from gptoss_client import Endpoint, UsageError

ADVICE = "install it with make setup-transformers"


@dataclass(frozen=True, slots=True)
class Transformers:
    """`transformers serve MODEL` with its own defaults; `flags` are appended unchanged."""

    model: str
    flags: tuple[str, ...] = ()
    log_name: str = "transformers.log"

    @classmethod
    def from_choice(cls, server: ServerChoice, slots: int) -> "Transformers":
        """Return the engine with the model and flags of `server`; it needs no number of slots."""
        return cls(server.model, server.arguments)

    @property
    def cwd(self) -> Path | None:
        """Return the folder of the checkpoint: the server knows the model only by the name of its command line."""
        folder = local_model(self.model)
        return None if folder is None else folder.parent

    def prepare(self) -> Endpoint:
        """Return the endpoint. Raises UsageError if transformers, the checkpoint or disk space is missing."""
        program = executable("transformers", "transformers", ADVICE)
        folder = local_model(self.model)
        if folder is None:
            require_disk_space_for(self.model)
        parameters = count_parameters(folder) if folder else None
        # Without the folder of the hub's cache the server answers HTTP 500 to a request for its models.
        try:
            hub_cache().mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make the folder {hub_cache()}: {error.strerror}; name one by HF_HOME") from error
        endpoint = Endpoint(
            url="",
            model=folder.name if folder else self.model,
            dialect="openai",
            engine="transformers",
            version=version_beside(Path(program), "transformers"),
            label=join_labels(checkpoint_label(self.model, folder), None if installed_gpus() else CPU_LABEL),
        )
        return add_facts(endpoint, {"parameters": parameters})

    def command(self, port: int) -> list[str]:
        """Return `transformers serve` for the model."""
        folder = local_model(self.model)
        program, model = executable("transformers", "transformers", ADVICE), folder.name if folder else self.model
        return [program, "serve", model, "--host", "127.0.0.1", "--port", str(port), *self.flags]

    def environment(self, port: int) -> dict[str, str]:
        """Return a variable that prevents requests to the hub about a local checkpoint."""
        return {} if local_model(self.model) is None else {"HF_HUB_OFFLINE": "1"}

    async def describe(self, http: httpx.AsyncClient, endpoint: Endpoint, log: str) -> Endpoint:
        """Return the endpoint with what the log reports: whether MXFP4 weights were dequantised to BF16."""
        dequantised = "dequantiz" in log
        notes = ["transformers reports that it dequantised the MXFP4 weights to BF16"] if dequantised else []
        found = add_facts(endpoint, {"dequantised": dequantised or None}, *notes)
        found = replace(found, quantisation="BF16" if dequantised else found.quantisation)
        return await describe_transformers(http, found)


async def describe_transformers(_http: httpx.AsyncClient, endpoint: Endpoint) -> Endpoint:
    """Return the endpoint with its label; a running server reports no version. A local checkpoint is counted."""
    folder = Path(endpoint.model.partition("@")[0])
    local = folder if folder.is_absolute() else None
    parameters = count_parameters(local) if local else None
    labelled = replace(endpoint, label=endpoint.label or checkpoint_label(endpoint.model, local))
    return add_facts(labelled, {"parameters": parameters}, *version_notes("transformers", endpoint.version))
