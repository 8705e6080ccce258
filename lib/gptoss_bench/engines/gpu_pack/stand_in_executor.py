"""Stand in for the part of vLLM 0.26 that computes on a GPU: an executor whose answers are one word. For `dry_run.py`.

vLLM's API server, engine core, scheduler and harmony parser stay its own.
"""

from concurrent.futures import Future
from typing import Any

from transformers import AutoTokenizer
from vllm.v1.executor.abstract import Executor
from vllm.v1.kv_cache_interface import FullAttentionSpec, SlidingWindowSpec
from vllm.v1.outputs import ModelRunnerOutput

KV_CACHE = 4 * 2**30
OPENING = "<|channel|>final<|message|>"
WORD = " word"


class StandInExecutor(Executor):  # type: ignore[misc]
    """Answer every request with the opening of a harmony message and then one word, up to its limit of tokens."""

    def _init_executor(self) -> None:
        tokenizer = AutoTokenizer.from_pretrained(self.model_config.tokenizer)
        self.opening: list[int] = tokenizer.encode(OPENING, add_special_tokens=False)
        [self.word] = tokenizer.encode(WORD, add_special_tokens=False)
        self.missing: dict[str, int] = {}  # tokens of the prompt that are not computed yet, by request
        self.sent: dict[str, int] = {}
        self.output: ModelRunnerOutput | None = None

    def get_kv_cache_specs(self) -> list[dict[str, Any]]:
        """Return the KV cache of each layer, as vLLM's model of gpt-oss asks for it."""
        config, dtype = self.model_config.hf_config, self.model_config.dtype
        shape = {
            "block_size": self.cache_config.block_size,
            "num_kv_heads": config.num_key_value_heads,
            "head_size": config.head_dim,
            "dtype": dtype,
        }
        specs = {
            "full_attention": FullAttentionSpec(**shape),
            "sliding_attention": SlidingWindowSpec(**shape, sliding_window=config.sliding_window),
        }
        return [{f"model.layers.{number}.attn": specs[kind] for number, kind in enumerate(config.layer_types)}]

    def determine_available_memory(self) -> list[int]:
        """Return the bytes for the KV cache."""
        return [KV_CACHE]

    def initialize_from_config(self, kv_cache_configs: list[Any]) -> None:
        """Allocate nothing."""

    def execute_model(self, scheduler_output: Any, non_block: bool = False) -> Any:
        """Count the tokens of a step and prepare the next token of each request whose prompt is complete."""
        for request in scheduler_output.finished_req_ids:
            self.missing.pop(request, None)
            self.sent.pop(request, None)
        for new in scheduler_output.scheduled_new_reqs:
            self.missing[new.req_id] = len(new.prompt_token_ids) - new.num_computed_tokens
            self.sent[new.req_id] = 0
        scheduled = scheduler_output.num_scheduled_tokens
        for request, tokens in scheduled.items():
            self.missing[request] -= tokens
        sampled = [self._next(request) for request in scheduled]
        self.output = ModelRunnerOutput(
            req_ids=list(scheduled),
            req_id_to_index={request: number for number, request in enumerate(scheduled)},
            sampled_token_ids=sampled,
        )
        result = None if scheduled else self.output
        return _done(result) if non_block else result

    def sample_tokens(self, grammar_output: Any, non_block: bool = False) -> Any:
        """Return the tokens of the step."""
        return _done(self.output) if non_block else self.output

    def collective_rpc(
        self,
        method: Any,
        timeout: float | None = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        non_block: bool = False,
    ) -> Any:
        """Answer what vLLM asks its workers: they generate, and do nothing else."""
        result = [("generate",) if method == "get_supported_tasks" else None]
        return _done(result) if non_block else result

    def check_health(self) -> None:
        """Be healthy."""

    @classmethod
    def supports_async_scheduling(cls) -> bool:
        """Return True, as the executor of one GPU does."""
        return True

    def _next(self, request: str) -> list[int]:
        if self.missing[request] > 0:
            return []
        number = self.sent[request]
        self.sent[request] += 1
        return [self.opening[number] if number < len(self.opening) else self.word]


def _done(result: Any) -> "Future[Any]":
    future: Future[Any] = Future()
    future.set_result(result)
    return future
