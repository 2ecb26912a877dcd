"""I3D, I3D-ResNet50 and C3D in plain eager PyTorch: the program that torchvid is timed against. Development only.

It is written from the published facts of the networks the way their reference implementations compute them: NCTHW
float32, every batch-norm a layer of its own, padding as a separate operation where TensorFlow's SAME asks for it.

  python features.py --check GOLDEN.json [...]        compare with golden numbers (features, logits, losses, gradients)
  python features.py --network i3d --weights FILE ... read `clips N` or `quit` from stdin; do one unit of work per line
                                                      and answer it with one JSON line
"""

import argparse
import json
import pathlib
import time

import numpy as np
import torch
from common import fill_by_formula, formula, read_safetensors, serve_or_check, serve_units
from torch import nn
from torch.nn import functional as F

# ---------------------------------------------------------------------------------------------- I3D (Inception-v1)


def same_padding(x, kernel, stride):
    """Zeros as TensorFlow's SAME puts them: from the size at hand, the larger part behind."""
    pads = []
    for size, k, s in reversed(list(zip(x.shape[2:], kernel, stride))):
        total = max(k - (s if size % s == 0 else size % s), 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


class Unit3D(nn.Module):
    """Convolution, batch-norm, ReLU."""

    def __init__(self, inside, out, kernel=1, stride=1, bare=False):
        super().__init__()
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(inside, out, kernel, stride, bias=bare)
        self.bn = None if bare else nn.BatchNorm3d(out, eps=1e-3, momentum=0.01)

    def forward(self, x):
        x = self.conv3d(same_padding(x, self.kernel, self.stride))
        return x if self.bn is None else F.relu(self.bn(x))


class SamePool(nn.MaxPool3d):
    def forward(self, x):
        return super().forward(same_padding(x, self.kernel_size, self.stride))


class Mixed(nn.Module):
    """Inception block: four branches, joined."""

    def __init__(self, inside, b0, b1a, b1b, b2a, b2b, b3b):
        super().__init__()
        self.b0 = Unit3D(inside, b0)
        self.b1a, self.b1b = Unit3D(inside, b1a), Unit3D(b1a, b1b, 3)
        self.b2a, self.b2b = Unit3D(inside, b2a), Unit3D(b2a, b2b, 3)
        self.b3a, self.b3b = SamePool((3, 3, 3), (1, 1, 1)), Unit3D(inside, b3b)

    def forward(self, x):
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))], dim=1)


class Inception(nn.Module):
    MIXED = {
        '3b': (192, 64, 96, 128, 16, 32, 32),
        '3c': (256, 128, 128, 192, 32, 96, 64),
        '4b': (480, 192, 96, 208, 16, 48, 64),
        '4c': (512, 160, 112, 224, 24, 64, 64),
        '4d': (512, 128, 128, 256, 24, 64, 64),
        '4e': (512, 112, 144, 288, 32, 64, 64),
        '4f': (528, 256, 160, 320, 32, 128, 128),
        '5b': (832, 256, 160, 320, 32, 128, 128),
        '5c': (832, 384, 192, 384, 48, 128, 128),
    }
    size = 224

    def __init__(self, classes=400):
        super().__init__()
        layers = {
            'Conv3d_1a_7x7': Unit3D(3, 64, 7, 2),
            'MaxPool3d_2a_3x3': SamePool((1, 3, 3), (1, 2, 2)),
            'Conv3d_2b_1x1': Unit3D(64, 64),
            'Conv3d_2c_3x3': Unit3D(64, 192, 3),
            'MaxPool3d_3a_3x3': SamePool((1, 3, 3), (1, 2, 2)),
        }
        for name, widths in self.MIXED.items():
            if name == '4b':
                layers['MaxPool3d_4a_3x3'] = SamePool((3, 3, 3), (2, 2, 2))
            if name == '5b':
                layers['MaxPool3d_5a_2x2'] = SamePool((2, 2, 2), (2, 2, 2))
            layers[f'Mixed_{name}'] = Mixed(*widths)
        self.order = list(layers)
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.logits = Unit3D(1024, classes, bare=True)

    def forward(self, x):
        for name in self.order:
            x = getattr(self, name)(x)
        mean = x.mean((2, 3, 4))
        return mean, self.logits(mean[:, :, None, None, None]).flatten(1)

    @staticmethod
    def scale(pixels):
        return pixels / 255 * 2 - 1


# ---------------------------------------------------------------------------------------------- I3D-ResNet50


class NonLocal(nn.Module):
    """Attention over all places with a softmax; keys and values from every second row and column."""

    def __init__(self, channels):
        super().__init__()
        inner = channels // 2
        self.theta, self.phi = nn.Conv3d(channels, inner, 1), nn.Conv3d(channels, inner, 1)
        self.g, self.out = nn.Conv3d(channels, inner, 1), nn.Conv3d(inner, channels, 1)
        self.pool = nn.MaxPool3d((1, 2, 2))
        self.bn = nn.BatchNorm3d(channels)

    def forward(self, x):
        small = self.pool(x)
        theta, phi, g = self.theta(x), self.phi(small).flatten(2), self.g(small).flatten(2)
        weights = torch.softmax(theta.flatten(2).transpose(1, 2) @ phi * theta.shape[1] ** -0.5, dim=-1)
        y = (weights @ g.transpose(1, 2)).transpose(1, 2).reshape(theta.shape)
        return self.bn(self.out(y)) + x


class Bottleneck(nn.Module):
    def __init__(self, inside, planes, stride, reach, shortcut, non_local):
        super().__init__()
        self.conv1 = nn.Conv3d(inside, planes, (1 + 2 * reach, 1, 1), padding=(reach, 0, 0), bias=False)
        self.bn1 = nn.BatchNorm3d(planes)
        self.conv2 = nn.Conv3d(planes, planes, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
        self.bn2 = nn.BatchNorm3d(planes)
        self.conv3 = nn.Conv3d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(4 * planes)
        self.relu = nn.ReLU(inplace=True)
        if shortcut:
            across = nn.Conv3d(inside, 4 * planes, 1, (1, stride, stride), bias=False)
            self.downsample = nn.Sequential(across, nn.BatchNorm3d(4 * planes))
        else:
            self.downsample = nn.Identity()
        self.nl = NonLocal(4 * planes) if non_local else nn.Identity()

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.nl(self.relu(y + self.downsample(x)))


class Resnet50(nn.Module):
    REACHES = [(1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0)]
    size = 224

    def __init__(self, classes=400, non_local=False):
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, (5, 7, 7), 2, (2, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool1, self.maxpool2 = nn.MaxPool3d((2, 3, 3), 2), nn.MaxPool3d((2, 1, 1), (2, 1, 1))
        inside = 64
        for number, reaches in enumerate(self.REACHES, 1):
            planes, blocks = 32 << number, []
            for i, reach in enumerate(reaches):
                stride = 2 if number > 1 and i == 0 else 1
                attends = non_local and number in (2, 3) and i % 2 == 1
                blocks.append(Bottleneck(inside, planes, stride, reach, i == 0, attends))
                inside = 4 * planes
            setattr(self, f'layer{number}', nn.Sequential(*blocks))
        self.fc = nn.Linear(inside, classes)

    def forward(self, x):
        x = self.maxpool1(self.relu(self.bn1(self.conv1(x))))
        x = self.layer2(self.maxpool2(self.layer1(x)))
        mean = self.layer4(self.layer3(x)).mean((2, 3, 4))
        return mean, self.fc(mean)

    @staticmethod
    def scale(pixels):
        return (pixels - 114.75) / 57.375


# ---------------------------------------------------------------------------------------------- C3D


class C3d(nn.Module):
    WIDTHS = {
        'conv1': 64, 'conv2': 128, 'conv3a': 256, 'conv3b': 256, 'conv4a': 512, 'conv4b': 512, 'conv5a': 512,
        'conv5b': 512,
    }
    size = 112

    def __init__(self, classes=487, pool5='ceil'):
        super().__init__()
        inside = 3
        for name, width in self.WIDTHS.items():
            self.add_module(name, nn.Conv3d(inside, width, 3, padding=1))
            inside = width
        self.pool1 = nn.MaxPool3d((1, 2, 2))
        self.pool = nn.MaxPool3d(2)
        self.pool5 = nn.MaxPool3d(2, ceil_mode=True) if pool5 == 'ceil' else nn.MaxPool3d(2, padding=(0, 1, 1))
        self.fc6, self.fc7, self.fc8 = nn.Linear(8192, 4096), nn.Linear(4096, 4096), nn.Linear(4096, classes)

    def layers(self, x):
        """fc6, fc7 after their ReLU, and the logits."""
        for name in self.WIDTHS:
            x = F.relu(getattr(self, name)(x))
            if name == 'conv1':
                x = self.pool1(x)
            elif name in ('conv2', 'conv3b', 'conv4b'):
                x = self.pool(x)
        fc6 = F.relu(self.fc6(self.pool5(x).flatten(1)))
        fc7 = F.relu(self.fc7(fc6))
        return fc6, fc7, self.fc8(fc7)

    def forward(self, x):
        fc6, _, logits = self.layers(x)
        return fc6, logits

    @staticmethod
    def scale(pixels):
        return pixels - 128


NETWORKS = {
    'i3d': Inception,
    'i3dResnet50': Resnet50,
    'i3dResnet50NonLocal': lambda: Resnet50(non_local=True),
    'c3d': C3d,
}


# ---------------------------------------------------------------------------------------------- goldens


def formula_clip(shape, seed):
    pixels = np.floor(formula('clip', int(np.prod(shape)), seed) * 256).astype(np.float32)
    return torch.from_numpy(pixels).view(*shape)


def check_c3d(golden, tensors, check):
    clip = C3d.scale(formula_clip(golden['input']['uint8_shape'], golden['clip_seed']))
    for pool5, suffix in (('padded', ''), ('ceil', '_pool5_ceil')):
        net = C3d(pool5=pool5)
        fill_by_formula(net, golden['weights_seed'])
        with torch.no_grad():
            fc6, fc7, logits = net.layers(clip)
        check(f'fc6, {pool5}', fc6, tensors[f'fc6_relu{suffix}'], 1e-5)
        check(f'fc7, {pool5}', fc7, tensors[f'fc7_relu{suffix}'], 1e-5)
        if pool5 == 'padded':
            check('logits', logits, tensors['logits'], 1e-5)


def check_golden(path, check):
    golden, tensors = json.loads(path.read_text()), read_safetensors(path.with_suffix('.safetensors'))
    if path.stem == 'c3d':
        return check_c3d(golden, tensors, check)
    net = Inception() if 'inception' in path.stem else Resnet50(non_local='_nl_' in path.stem)
    fill_by_formula(net, golden.get('seed', golden.get('weights_seed')))
    clip = net.scale(formula_clip(golden['input']['uint8_shape'], golden.get('clip_seed', golden.get('seed'))))
    with torch.no_grad():
        features, logits = net.eval()(clip)
    check('features', features, tensors.get('features', tensors.get('features_global_mean')), 1e-5)
    check('logits', logits, tensors.get('logits', tensors.get('logits_global_mean')), 1e-5)
    if 'train' not in golden:
        return
    want, parameters = golden['train'], dict(net.named_parameters())
    labels = torch.tensor(want.get('labels', [want.get('label')]))
    loss = F.cross_entropy(net.train()(clip)[1], labels)
    loss.backward()
    check('loss with batch statistics', loss.item(), want['loss'], 1e-5)
    ratios = [parameters[name].grad.double().norm().item() / norm for name, norm in want['grad_norm'].items()]
    check('gradient norms', ratios, [1.0] * len(ratios), golden['tolerance']['grad_norm'])


# ---------------------------------------------------------------------------------------------- program


def serve(options):
    net = NETWORKS[options.network]().eval()
    if options.weights:
        result = net.load_state_dict(read_safetensors(options.weights), strict=False)
        lacking = [name for name in result.missing_keys if not name.endswith('num_batches_tracked')]
        if lacking or result.unexpected_keys:
            raise ValueError(f'{options.weights}: lacks {lacking}, has {result.unexpected_keys}')
    clip = net.scale(formula_clip((options.batch, 3, 16, net.size, net.size), 1)).numpy()

    @torch.inference_mode()
    def clips(count):
        begin = time.perf_counter()
        for _ in range(int(count)):
            features = net(torch.from_numpy(clip))[0].numpy()
        return {'seconds': time.perf_counter() - begin, 'value': float(np.abs(features).mean())}

    units = {'clips': clips}
    serve_units(units, parameters=sum(p.numel() for p in net.parameters()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', nargs='+', type=pathlib.Path, metavar='GOLDEN.json')
    parser.add_argument('--network', choices=NETWORKS, default='i3dResnet50')
    parser.add_argument('--weights', type=pathlib.Path, help='a safetensors file of torchvid')
    parser.add_argument('--batch', type=int, default=1, help='clips per forward pass')
    parser.add_argument('--threads', type=int, help="default: PyTorch's own choice")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    serve_or_check(options, serve, check_golden)


if __name__ == '__main__':
    main()
