"""PyTorch's side of bench/engine.mjs: the same two tiny networks, in the loops that one writes in Python."""

import sys
import time

import numpy as np
import torch
from common import answer, formula
from osvos import class_balanced_loss
from torch import nn

point = nn.Conv2d(1, 1, 1)
tiny = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1))


@torch.no_grad()
def forward(count):
    x = np.ones((1, 1, 1, 1), dtype=np.float32)
    for _ in range(count):
        point(torch.from_numpy(x)).numpy()


def train(count):
    rgb = np.floor(formula('image', 16 * 16 * 3, 1) * 256).astype(np.float32).reshape(16, 16, 3)
    image = torch.from_numpy(np.ascontiguousarray((rgb / 127.5 - 1).transpose(2, 0, 1)))[None]
    label = torch.zeros(1, 1, 16, 16)
    label[:, :, 4:8, 5:10] = 1
    optimizer = torch.optim.Adam(tiny.parameters(), lr=1e-3)
    for _ in range(count):
        optimizer.zero_grad()
        loss = class_balanced_loss(tiny(image), label, 'mean')
        loss.backward()
        optimizer.step()
        loss.item()


answer(unit='ready')
for line in sys.stdin:
    unit, *words = line.split()
    if unit == 'quit':
        break
    count = int(words[0])
    begin = time.perf_counter()
    {'forward': forward, 'train': train}[unit](count)
    answer(unit=unit, seconds=(time.perf_counter() - begin) / count)
