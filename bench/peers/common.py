"""What the programs that torchvid is timed against share: golden numbers, weights, and the serving of units."""

import json
import math
import pathlib
import sys
import time

import numpy as np
import torch


def formula(name, count, seed):
    """`count` numbers in [0, 1) that depend on nothing but the name and the seed (FNV-1a, then murmur3's mixer)."""
    h = 0x811C9DC5
    for byte in name.encode():
        h = ((h ^ byte) * 0x01000193) & 0xFFFFFFFF
    h ^= (seed * 0x9E3779B9) & 0xFFFFFFFF
    x = np.arange(count, dtype=np.uint64).astype(np.uint32) * np.uint32(2654435761) + np.uint32(h)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    return x.astype(np.float64) / 2**32


@torch.no_grad()
def fill_by_formula(net, seed):
    tensors = net.state_dict()
    norm_ranges = {'weight': (0.05, 1), 'bias': (-0.2, 0.2), 'running_mean': (-0.2, 0.2), 'running_var': (0.5, 1.5)}
    for name, tensor in tensors.items():
        layer, kind = name.rsplit('.', 1)
        if kind in ('indexes', 'num_batches_tracked'):
            continue
        reach = 0.05 if kind == 'bias' else math.sqrt(6 / max(tensor[0].numel(), 1))
        low, high = norm_ranges[kind] if f'{layer}.running_mean' in tensors else (-reach, reach)
        values = (low + (high - low) * formula(name, tensor.numel(), seed)).astype(np.float32)
        tensor.copy_(torch.from_numpy(values).view(tensor.shape))


def read_safetensors(path):
    blob = path.read_bytes()
    start = 8 + int.from_bytes(blob[:8], 'little')
    header = json.loads(blob[8:start])
    header.pop('__metadata__', None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (start + offset for offset in entry['data_offsets'])
        numbers = np.frombuffer(blob[begin:end], {'F32': '<f4', 'I64': '<i8'}[entry['dtype']])
        tensors[name] = torch.from_numpy(numbers.reshape(entry['shape']).copy())
    return tensors


class Checker:
    def __init__(self):
        self.failed = 0

    def __call__(self, what, value, want, tolerance):
        value, want = torch.as_tensor(value, dtype=torch.float64), torch.as_tensor(want, dtype=torch.float64)
        error = ((value - want).abs().max() / want.abs().max().clamp_min(1e-30)).item()
        good = error <= tolerance  # false for NaN too
        self.failed += not good
        print(f'{"ok   " if good else "WRONG"} {what}: {error:.1e} (at most {tolerance:.0e})')


def answer(**record):
    print(json.dumps({**record, 'cpu': time.process_time(), 'peakMemory': peak_memory()}), flush=True)


def peak_memory():
    """Bytes. On Linux without what the process inherited from the one that started it."""
    status = pathlib.Path('/proc/self/status')
    if status.exists():
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith('VmHWM'))
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else peak * 1024


def serve_units(units, **facts):
    """Says that it is ready, then does one unit of work per line (`NAME WORDS...`) and answers it, until `quit`."""
    answer(unit='ready', torch=torch.__version__, threads=torch.get_num_threads(), **facts)
    for line in sys.stdin:
        unit, *words = line.split()
        if unit == 'quit':
            break
        if unit not in units:
            answer(error=f'unknown unit {unit!r}: {", ".join(units)} or quit')
            continue
        begin = time.perf_counter()
        try:
            result = units[unit](*words)
        except Exception as error:
            answer(error=f'{type(error).__name__}: {error}')
            continue
        answer(unit=unit, **{'seconds': time.perf_counter() - begin, **result})


def serve_or_check(options, serve, check_golden):
    """Serves the benchmark or, with `--check`, compares with golden numbers and exits."""
    if not options.check:
        return serve(options)
    check = Checker()
    for path in options.check:
        print(path.name)
        check_golden(path, check)
    sys.exit(1 if check.failed else 0)
