"""Network slimming in plain eager PyTorch: the program that torchvid is timed against. Development only, never shipped.

It is written from the published facts of the method the way its reference implementation computes it: cross-entropy,
after backward the subgradient of the L1 penalty added to the gradient of every batch-norm's scale, then an SGD step;
PreResNet with a layer that gathers the selected channels. NCHW float32. All images lie in memory as one normalised
tensor, without augmentation, so that a step is nothing but a slice and the arithmetic.

  python slim.py --check GOLDEN.json [...]             compare with golden numbers (logits, losses, scales)
  python slim.py --network vgg16 --weights FILE ...    read `train N`, `open NAME FILE`, `infer NAME BATCH COUNT` or
                                                       `quit` from stdin; do one unit of work per line and answer it
                                                       with one JSON line
"""

import argparse
import json
import pathlib

import numpy as np
import torch
from common import fill_by_formula, formula, read_safetensors, serve_or_check, serve_units
from torch import nn
from torch.nn import functional as F

# CIFAR-10's, per channel.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2023, 0.1994, 0.2010)

VGG = {
    11: [64, 'M', 128, 'M', 256, 256, 'M', 512, 512, 'M', 512, 512],
    16: [64, 64, 'M', 128, 128, 'M', 256, 256, 256, 'M', 512, 512, 512, 'M', 512, 512, 512],
}


# ---------------------------------------------------------------------------------------------- the networks


class Vgg(nn.Module):
    """Convolution, batch-norm, ReLU, in one sequence with max pools; then average pool and one linear layer."""

    def __init__(self, cfg, classes=10, bias=False):
        super().__init__()
        layers, channels = [], 3
        for width in cfg:
            if width == 'M':
                layers.append(nn.MaxPool2d(2))
            else:
                convolution = nn.Conv2d(channels, width, 3, padding=1, bias=bias)
                layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                channels = width
        self.feature = nn.Sequential(*layers)
        self.pool = nn.AvgPool2d(2)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x):
        return self.classifier(self.pool(self.feature(x)).flatten(1))


class Selection(nn.Module):
    """Gathers the channels whose index is not zero."""

    def __init__(self, channels):
        super().__init__()
        self.indexes = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        chosen = np.flatnonzero(self.indexes.detach().numpy())
        return x[:, torch.from_numpy(chosen)]


class Bottleneck(nn.Module):
    """Pre-activation: three times batch-norm, ReLU, convolution; a selection after the first batch-norm."""

    def __init__(self, channels, planes, stride, first):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.select = Selection(channels)
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential(nn.Conv2d(channels, 4 * planes, 1, stride, bias=False)) if first else None

    def forward(self, x):
        y = self.conv1(self.relu(self.select(self.bn1(x))))
        y = self.conv2(self.relu(self.bn2(y)))
        y = self.conv3(self.relu(self.bn3(y)))
        y += x if self.downsample is None else self.downsample(x)
        return y


class PreResnet(nn.Module):
    def __init__(self, depth, classes=10):
        super().__init__()
        blocks, channels = (depth - 2) // 9, 16
        self.conv1 = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        for number, planes in enumerate((16, 32, 64), 1):
            layer = []
            for i in range(blocks):
                layer.append(Bottleneck(channels, planes, 2 if number > 1 and i == 0 else 1, i == 0))
                channels = 4 * planes
            setattr(self, f'layer{number}', nn.Sequential(*layer))
        self.bn = nn.BatchNorm2d(channels)
        self.select = Selection(channels)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AvgPool2d(8)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.fc(self.pool(self.relu(self.select(self.bn(x)))).flatten(1))


NETWORKS = {'vgg16': lambda: Vgg(VGG[16]), 'preresnet56': lambda: PreResnet(56)}


def load_weights(net, tensors):
    result = net.load_state_dict(tensors, strict=False)
    lacking = [name for name in result.missing_keys if not name.endswith('num_batches_tracked')]
    if lacking or result.unexpected_keys:
        raise ValueError(f'The weights lack {lacking} and have {result.unexpected_keys}')


def slimmed_vgg(tensors):
    """The VGG whose widths are those of a file's convolutions."""
    kernels = [name for name, tensor in tensors.items() if name.startswith('feature.') and tensor.dim() == 4]
    widths = {int(name.split('.')[1]): len(tensors[name]) for name in kernels}
    cfg, index = [], 0
    while widths:
        cfg.append(widths.pop(index, 'M'))
        index += 1 if cfg[-1] == 'M' else 3
    net = Vgg(cfg, len(tensors['classifier.bias']), bias='feature.0.bias' in tensors)
    load_weights(net, tensors)
    return net


# ---------------------------------------------------------------------------------------------- training


class SparseTrainer:
    """SGD with the L1 penalty's subgradient on every scale of a batch-norm; batches in order, round and round."""

    def __init__(self, net, images, labels, batch, lr, sparsity, momentum=0.9, decay=1e-4):
        self.net, self.images, self.labels, self.batch, self.sparsity = net, images, labels, batch, sparsity
        self.optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=momentum, weight_decay=decay)
        self.position = 0

    def step(self):
        self.net.train()
        part = slice(self.position, self.position + self.batch)
        self.position = (self.position + self.batch) % len(self.images)
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.net(self.images[part]), self.labels[part])
        loss.backward()
        for layer in self.net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.grad.add_(self.sparsity * torch.sign(layer.weight.detach()))
        self.optimizer.step()
        return loss.item()


def formula_images(count, name, seed):
    pixels = np.floor(formula(name, count * 3 * 32 * 32, seed) * 256).astype(np.float32)
    images = torch.from_numpy(pixels).view(count, 3, 32, 32) / 255
    return (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


# ---------------------------------------------------------------------------------------------- program


def check_golden(path, check):
    golden = json.loads(path.read_text())
    arch, depth, settings = golden['arch'], golden['depth'], golden['sparse_train']
    if arch == 'densenet':
        return print('there is no densenet here')
    net = Vgg(VGG[depth]) if arch == 'vgg' else PreResnet(depth)
    fill_by_formula(net, golden['seed'])
    images = formula_images(golden['batch'], 'image', golden['seed'])
    with torch.no_grad():
        logits = net.eval()(images)
    check('logits', logits, read_safetensors(path.with_suffix('.safetensors'))['base'], 1e-4)
    rates = {'lr': settings['lr'], 'momentum': settings['momentum'], 'decay': settings['weight_decay']}
    labels = torch.tensor(golden['labels'])
    trainer = SparseTrainer(net, images, labels, golden['batch'], sparsity=settings['s'], **rates)
    for i, want in enumerate(settings['loss']):
        check(f'loss {i}', trainer.step(), want, 1e-3)
    layers = dict(net.named_modules())
    for name, want in settings['gamma_norm_after'].items():
        check(f'scales of {name}', layers[name].weight.detach().double().norm(), want, 1e-4)


def serve(options):
    net = NETWORKS[options.network]()
    load_weights(net, read_safetensors(options.weights))
    images = formula_images(options.images, 'images', 1)
    labels = torch.arange(options.images) % 10
    trainer = SparseTrainer(net, images, labels, options.batch, options.learning_rate, options.sparsity)
    opened = {}

    def train(count):
        return {'losses': [trainer.step() for _ in range(int(count))]}

    def open_network(name, path):
        opened[name] = slimmed_vgg(read_safetensors(pathlib.Path(path))).eval()
        return {}

    @torch.inference_mode()
    def infer(name, batch, count):
        pictures = images[: int(batch)].numpy()
        for _ in range(int(count)):
            logits = opened[name](torch.from_numpy(pictures)).numpy()
        return {'value': float(np.abs(logits).mean())}

    units = {'train': train, 'open': open_network, 'infer': infer}
    serve_units(units)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', nargs='+', type=pathlib.Path, metavar='GOLDEN.json')
    parser.add_argument('--network', choices=NETWORKS, default='vgg16')
    parser.add_argument('--weights', type=pathlib.Path, help='a safetensors file of torchvid to start from')
    parser.add_argument('--images', type=int, default=640)
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--learning-rate', type=float, default=0.01)
    parser.add_argument('--sparsity', type=float, default=1e-4)
    parser.add_argument('--threads', type=int, help="default: PyTorch's own choice")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    serve_or_check(options, serve, check_golden)


if __name__ == '__main__':
    main()
