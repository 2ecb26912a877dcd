"""From `import torch` to the first result of a small network; beside bench/sides/first-result.mjs."""

import time

begin = time.perf_counter()
import json

import torch

imported = time.perf_counter()
net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 1, 1))
with torch.no_grad():
    y = net(torch.full((1, 3, 64, 64), 0.5)).flatten().tolist()
assert len(y) == 64 * 64
end = time.perf_counter()
print(json.dumps({'import': imported - begin, 'first': end - begin}))
