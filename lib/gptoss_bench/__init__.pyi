from .session import bench, bench_async

__all__ = ["bench", "bench_async"]
