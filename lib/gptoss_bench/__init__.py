"""Re-measures gpt-oss where a public write-up did, and says of each of its claims whether it holds."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gptoss_bench.measuring import bench, bench_async

__all__ = ["bench", "bench_async"]


def __getattr__(name: str) -> Any:
    """`bench` and `bench_async`, fetched when they are asked for: a command that has no use for them does not pay."""
    if name in __all__:
        from gptoss_bench import measuring

        return getattr(measuring, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
