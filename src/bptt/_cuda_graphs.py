"""Work of a GPU recorded once and repeated at the price of one launch."""

from collections.abc import Callable

import torch


def recorded(
    body: Callable[[], object],
    device: torch.device,
    *,
    warm_ups: int = 1,
    undo: Callable[[], object] = lambda: None,
) -> Callable[[], object]:
    """A function that repeats what `body` launches, on the same memory.

    Args:
        body: waits for nothing, and reads and writes the same tensors at each call.
        device: where; on any but a GPU nothing can be recorded, and `body` itself is given back.
        warm_ups: calls before the recording, for what is compiled, loaded or tried out at a first time.
        undo: called after each of them.
    """
    if device.type != "cuda":
        return body
    # A stream of this device: torch's own for captures is one for all.
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(warm_ups):
            body()
            undo()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device), torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        body()
    return graph.replay
