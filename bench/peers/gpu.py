"""PyTorch's side of bench/gpu: the references' algorithms in plain eager PyTorch on a GPU. Development only, never shipped.

The networks, losses and optimisers are those of osvos.py, rtfm.py and slim.py beside this file; here they are on a device,
in float32 with TF32 allowed, cuDNN choosing its fastest convolutions. What the references keep on the host stays there:
a picture is prepared by NumPy, RTFM's features are loaded and resampled at every step, losses are read at every step.
It is spared the references' augmentation and image loading: batches of slimming and OSVOS's frame lie on the device.

  python gpu.py --peak                              the measured peak of matrix products; one JSON line
  python gpu.py --part a|b|c|d --network NAME ...   read units from stdin, one per line, and answer each with one JSON line
"""

import argparse
import json
import pathlib
import statistics
import time

import numpy as np
import osvos
import rtfm
import slim
import torch
from common import answer, formula, read_safetensors, serve_units


def settle(device):
    """Waits until the device has done all that was asked of it."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


# ---------------------------------------------------------------------------------------------- OSVOS


def osvos_units(options, device):
    net = osvos.BACKBONES[options.network]()
    osvos.load_weights(net, options.weights)
    net = net.to(device)
    start = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    height, width = options.height, options.width
    rgb = np.floor(formula('image', height * width * 3, 1) * 256).astype(np.uint8).reshape(height, width, 3)
    label = torch.zeros(1, 1, height, width)
    label[:, :, height // 4 : height // 2, width // 3 : 2 * width // 3] = 1

    def fit(count):
        """A fresh start each time, as a fit is."""
        net.load_state_dict(start)
        trainer = osvos.OnlineTrainer(net, net.prepare(rgb).to(device), label.to(device), options.accumulate, lr=1e-8)
        begin = time.perf_counter()
        losses = [trainer.train_pass() for _ in range(int(count))]
        settle(device)
        return {'seconds': time.perf_counter() - begin, 'losses': ends(losses)}

    @torch.inference_mode()
    def frame(count):
        net.eval()
        for _ in range(int(count)):
            found = torch.sigmoid(net(net.prepare(rgb).to(device))[-1])[0, 0].cpu().numpy()
        return {'value': float(found.mean())}

    return {'fit': fit, 'frame': frame}


# ---------------------------------------------------------------------------------------------- RTFM


class DeviceTrainer(rtfm.Trainer):
    """The reference's step: both batches go to the device, losses come back."""

    def __init__(self, net, device, lr=0.001):
        super().__init__(net, rtfm.rtfm_losses, rtfm.adam(net, lr))
        self.device = device

    def step(self, normal, abnormal):
        return super().step(normal.to(self.device), abnormal.to(self.device))


def rtfm_units(options, device):
    files = json.loads(options.set.read_text())
    tensors = read_safetensors(options.weights)

    def trainer(dropout):
        net = rtfm.Rtfm(options.size, float(dropout))
        net.load_state_dict(tensors, strict=False)
        return DeviceTrainer(net.to(device), device)

    def loaders(shuffle):
        return [rtfm.endless(files[kind], options.batch, shuffle) for kind in ('normal', 'abnormal')]

    resident = []

    def batches(count):
        """Batches in the files' order, on the device."""
        if len(resident) < count:
            in_order = loaders(shuffle=False)
            resident[:] = [[next(loader).to(device) for loader in in_order] for _ in range(count)]
        return resident

    def timed(steps, dropout, batch_of):
        one = trainer(dropout)
        # The first step gets memory and chooses kernels; a run of thousands does not notice it.
        one.step(*batches(1)[0]) if float(dropout) > 0 else None
        settle(device)
        result = rtfm.time_steps(one, int(steps), batch_of)
        settle(device)
        return result

    def in_memory(steps, dropout):
        kept = batches(min(int(steps), options.resident))
        return timed(steps, dropout, lambda i: kept[i % len(kept)])

    endless = loaders(shuffle=True)

    def loop(steps, dropout):
        return timed(steps, dropout, lambda _: [next(loader) for loader in endless])

    return {'resident': in_memory, 'loop': loop}


# ---------------------------------------------------------------------------------------------- slimming


class DeviceSelection(slim.Selection):
    """As the reference has it: the indices are made on the host in every forward pass."""

    def forward(self, x):
        chosen = np.flatnonzero(self.indexes.detach().cpu().numpy())
        return x[:, torch.from_numpy(chosen).to(x.device)]


def slim_units(options, device):
    slim.Selection = DeviceSelection
    make = {'vgg16': lambda: slim.Vgg(slim.VGG[16]), 'preresnet164': lambda: slim.PreResnet(164)}[options.network]
    tensors = read_safetensors(options.weights)
    images = slim.formula_images(options.images, 'images', 1).to(device)
    labels = (torch.arange(options.images) % 10).to(device)

    def train(count):
        net = make()
        slim.load_weights(net, tensors)
        trainer = slim.SparseTrainer(net.to(device), images, labels, options.batch, lr=0.01, sparsity=1e-4)
        begin = time.perf_counter()
        losses = [trainer.step() for _ in range(int(count))]
        settle(device)
        return {'seconds': time.perf_counter() - begin, 'losses': ends(losses)}

    return {'train': train}


def ends(losses):
    return losses if len(losses) <= 20 else [*losses[:10], *losses[-10:]]


# ---------------------------------------------------------------------------------------------- the chip


def peak(device, side, repeats):
    """Operations per second of a product of two square matrices, medians; float32 with TF32, bfloat16, plain float32."""

    def measure(dtype, tf32):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        for _ in range(3):
            a @ b
        times = []
        for _ in range(repeats):
            settle(device)
            begin = time.perf_counter()
            for _ in range(10):
                a @ b
            settle(device)
            times.append((time.perf_counter() - begin) / 10)
        return 2 * side**3 / statistics.median(times)

    return {
        'side': side,
        'bfloat16': measure(torch.bfloat16, False),
        'tf32': measure(torch.float32, True),
        'float32': measure(torch.float32, False),
    }


def device_facts(device):
    if device.type != 'cuda':
        return {'name': 'CPU'}
    facts = torch.cuda.get_device_properties(device)
    return {'name': facts.name, 'memory': facts.total_memory, 'processors': facts.multi_processor_count}


# ---------------------------------------------------------------------------------------------- program


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--peak', action='store_true')
    parser.add_argument('--side', type=int, default=8192)
    parser.add_argument('--repeats', type=int, default=20)
    parser.add_argument('--part', choices='abcd')
    parser.add_argument('--network')
    parser.add_argument('--weights', type=pathlib.Path, help='a safetensors file of torchvid to start from')
    parser.add_argument('--height', type=int, default=480)
    parser.add_argument('--width', type=int, default=854)
    parser.add_argument('--accumulate', type=int, default=5)
    parser.add_argument('--set', type=pathlib.Path, metavar='SET.json')
    parser.add_argument('--size', type=int, default=2048)
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--resident', type=int, default=2, help='batches of features that are kept on the device')
    parser.add_argument('--images', type=int, default=5120)
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.manual_seed(1)
    if options.peak:
        return answer(**peak(device, options.side, options.repeats), device=device_facts(device))
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    units = {'a': osvos_units, 'b': osvos_units, 'c': rtfm_units, 'd': slim_units}[options.part](options, device)

    def memory():
        if device.type != 'cuda':
            return {}
        return {'gpuMemory': torch.cuda.max_memory_allocated(device)}

    serve_units({**units, 'memory': memory}, device=device_facts(device))


if __name__ == '__main__':
    main()
