"""OSVOS in plain eager PyTorch: the program that torchvid is timed against. Development only, never shipped.

It is written from the published facts of the method the way its reference implementation computes it: all five
outputs in every forward pass, 16-channel bilinear ConvTranspose2d upsampling, a gradient for the input image, the
class-balanced cross-entropy summed over the pixels, gradients of five passes per SGD step, NCHW float32. The MobileNet
trunk, which the reference lacks, is trained by torchvid's recipe for it, in the same plain way.

  python osvos.py --check GOLDEN.json [...]      compare with golden numbers (logits, losses, gradients, 20 passes)
  python osvos.py [--backbone mobilenet] ...     read `train`, `infer` or `quit` from stdin; do one unit of work per
                                                 line and answer it with one JSON line
"""

import argparse
import json
import math
import pathlib

import numpy as np
import torch
from common import formula, read_safetensors, serve_or_check, serve_units
from torch import nn
from torch.nn import functional as F

SIDE_CHANNELS = 16


# ---------------------------------------------------------------------------------------------- the network


def bilinear_kernel(size):
    """The size x size bilinear interpolation filter."""
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 else factor - 0.5
    ramp = 1 - (torch.arange(size, dtype=torch.float64) - centre).abs() / factor
    return (ramp[:, None] * ramp[None, :]).float()


def bilinear_upsampling(channels, stride):
    """A transposed convolution that enlarges each of its channels bilinearly, `stride` times."""
    layer = nn.ConvTranspose2d(channels, channels, 2 * stride, stride=stride, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[range(channels), range(channels)] = bilinear_kernel(2 * stride)
    return layer


def centre_crop(x, height, width):
    """Cuts the surplus; the odd pixel goes at the bottom and at the right."""
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    return x[:, :, top : top + height, left : left + width]


class Osvos(nn.Module):
    """A trunk with taps, and OSVOS's head: one side output per tap, and their fusion. Returns the logit maps."""

    def __init__(self, channels, strides):
        super().__init__()
        self.upscale = nn.ModuleList(bilinear_upsampling(SIDE_CHANNELS, s) for s in strides)
        self.upscale_ = nn.ModuleList(bilinear_upsampling(1, s) for s in strides)
        self.stages = self.trunk()
        self.side_prep = nn.ModuleList(nn.Conv2d(c, SIDE_CHANNELS, 3, padding=1) for c in channels)
        self.score_dsn = nn.ModuleList(nn.Conv2d(SIDE_CHANNELS, 1, 1) for _ in channels)
        self.fuse = nn.Conv2d(SIDE_CHANNELS * len(channels), 1, 1)
        for layer in [*self.side_prep, *self.score_dsn, self.fuse]:
            nn.init.normal_(layer.weight, std=0.001)
            nn.init.zeros_(layer.bias)
        # The reference starts from ImageNet weights. Random ones of the same scale keep the activations in a normal
        # range, so that no pass is slow because of denormal numbers.
        for layer in self.stages.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_uniform_(layer.weight, nonlinearity='relu')
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, image):
        height, width = image.shape[2:]
        side, outputs = [], []
        for i, x in enumerate(self.taps(image)):
            prepared = self.side_prep[i](x)
            side.append(centre_crop(self.upscale[i](prepared), height, width))
            outputs.append(centre_crop(self.upscale_[i](self.score_dsn[i](prepared)), height, width))
        outputs.append(self.fuse(torch.cat(side, dim=1)))
        return outputs

    def head_groups(self, lr, decay):
        return [
            {'params': [m.weight for m in self.side_prep], 'lr': lr, 'weight_decay': decay},
            {'params': [m.bias for m in self.side_prep], 'lr': 2 * lr, 'weight_decay': 0},
            {'params': [self.fuse.weight], 'lr': lr / 100, 'weight_decay': decay},
            {'params': [self.fuse.bias], 'lr': 2 * lr / 100, 'weight_decay': 0},
            # The fixed filters are parameters of rate 0 in the reference: their gradients are computed, not used.
            {'params': [*self.upscale.parameters(), *self.upscale_.parameters()], 'lr': 0, 'weight_decay': 0},
        ]


class VggOsvos(Osvos):
    """VGG16 without batch normalisation; the taps are its four later stages."""

    MEAN_BGR = np.array([104.00699, 116.66877, 122.67892], dtype=np.float32)
    STAGES = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]  # channels, convolutions

    def __init__(self):
        super().__init__(channels=[128, 256, 512, 512], strides=[2, 4, 8, 16])

    @classmethod
    def trunk(cls):
        stages, previous = nn.ModuleList(), 3
        for number, (channels, depth) in enumerate(cls.STAGES):
            layers = [nn.MaxPool2d(2, 2, ceil_mode=True)] if number else []
            for _ in range(depth):
                layers += [nn.Conv2d(previous, channels, 3, padding=1), nn.ReLU(inplace=True)]
                previous = channels
            stages.append(nn.Sequential(*layers))
        return stages

    def taps(self, x):
        x = self.stages[0](x)
        for stage in self.stages[1:]:
            x = stage(x)
            yield x

    @classmethod
    def prepare(cls, rgb):
        """uint8 RGB (H, W, 3) -> float32 (1, 3, H, W), BGR minus the mean."""
        bgr = rgb[:, :, ::-1].astype(np.float32) - cls.MEAN_BGR
        return torch.from_numpy(np.ascontiguousarray(bgr.transpose(2, 0, 1)))[None]

    reduction = 'sum'

    def optimizer(self, lr=1e-8, decay=2e-4):
        trunk = [m for m in self.stages.modules() if isinstance(m, nn.Conv2d)]
        groups = [
            {'params': [m.weight for m in trunk], 'lr': lr, 'weight_decay': decay},
            {'params': [m.bias for m in trunk], 'lr': 2 * lr, 'weight_decay': 0},
        ]
        return torch.optim.SGD(groups + self.head_groups(lr, decay), lr=lr, momentum=0.9)


class SameConv2d(nn.Conv2d):
    """A 3x3 convolution with TensorFlow's SAME padding: the odd pixel goes at the bottom and at the right."""

    def forward(self, x):
        pads = []
        for size in (x.shape[3], x.shape[2]):
            total = max((-(-size // self.stride[0]) - 1) * self.stride[0] + 3 - size, 0)
            pads += [total // 2, total - total // 2]
        if pads[0] == pads[1] == pads[2] == pads[3]:
            return F.conv2d(x, self.weight, self.bias, self.stride, pads[0], 1, self.groups)
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride, 0, 1, self.groups)


class MobileOsvos(Osvos):
    """MobileNetV1 (batch statistics frozen); the taps follow pointwise blocks 1, 3, 5, 11 and 12."""

    # channels and stride of blocks 1..12
    BLOCKS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)] + [(512, 1)] * 5 + [(1024, 2)]
    TAPS = (1, 3, 5, 11, 12)

    def __init__(self):
        super().__init__(channels=[64, 128, 256, 512, 1024], strides=[2, 4, 8, 16, 32])

    @classmethod
    def trunk(cls):
        def conv(cin, cout, stride, groups=1):
            layer = SameConv2d(cin, cout, 3, stride, groups=groups, bias=False)
            return [layer, nn.BatchNorm2d(cout, eps=1e-3), nn.ReLU6(inplace=True)]

        stages, previous = nn.ModuleList([nn.Sequential(*conv(3, 32, 2))]), 32
        for channels, stride in cls.BLOCKS:
            pointwise = nn.Conv2d(previous, channels, 1, bias=False)
            stages.append(
                nn.Sequential(
                    *conv(previous, previous, stride, groups=previous),
                    pointwise,
                    nn.BatchNorm2d(channels, eps=1e-3),
                    nn.ReLU6(inplace=True),
                )
            )
            previous = channels
        return stages

    def taps(self, x):
        x = self.stages[0](x)
        for block, stage in enumerate(self.stages[1:], start=1):
            x = stage(x)
            if block in self.TAPS:
                yield x

    def train(self, mode=True):
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()  # the batch statistics stay as they were learnt
        return self

    @classmethod
    def prepare(cls, rgb):
        """uint8 RGB (H, W, 3) -> float32 (1, 3, H, W) in -1 .. 1."""
        x = rgb.astype(np.float32) / 127.5 - 1
        return torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1)))[None]

    reduction = 'mean'

    def optimizer(self, lr=1e-4):
        trained = [self.stages, self.side_prep, self.fuse]
        return torch.optim.Adam([p for part in trained for p in part.parameters()], lr=lr)

    @classmethod
    def keras_names(cls):
        """torchvid's (Keras's) names of the trunk's layers -> the names here."""
        names = {'conv1': 'stages.0.0', 'conv1_bn': 'stages.0.1'}
        for i in range(1, len(cls.BLOCKS) + 1):
            names |= {f'conv_dw_{i}': f'stages.{i}.0', f'conv_dw_{i}_bn': f'stages.{i}.1'}
            names |= {f'conv_pw_{i}': f'stages.{i}.3', f'conv_pw_{i}_bn': f'stages.{i}.4'}
        return names


BACKBONES = {'vgg16': VggOsvos, 'mobilenet': MobileOsvos}


# ---------------------------------------------------------------------------------------------- loss and training


def class_balanced_loss(logits, label, reduction='sum'):
    """Logistic loss in which the object's and the background's pixels weigh the same. `sum`: per image."""
    y = (label >= 0.5).to(logits.dtype)
    positive = y.sum()
    total = y.numel()
    weight = torch.where(y > 0, (total - positive) / total, positive / total)
    loss = F.binary_cross_entropy_with_logits(logits, y, weight=weight, reduction='sum')
    return loss / (logits.shape[0] if reduction == 'sum' else logits.numel())


class OnlineTrainer:
    """One-shot training on the first frame: the fused output's loss only, one update every `accumulate` passes."""

    def __init__(self, net, image, label, accumulate=5, cosine=None, lr=None):
        self.net, self.image, self.label = net.train(), image, label
        self.optimizer = net.optimizer() if lr is None else net.optimizer(lr)
        self.accumulate = accumulate
        self.cosine = cosine  # the learning rate falls to 0 along a cosine in so many passes, then starts again
        self.rates = [group['lr'] for group in self.optimizer.param_groups]
        self.passes = 0

    def train_pass(self):
        """One forward and backward pass (and when it is due the update); returns the loss before it."""
        if self.cosine:
            factor = (1 + math.cos(math.pi * (self.passes % self.cosine) / self.cosine)) / 2
            for group, rate in zip(self.optimizer.param_groups, self.rates):
                group['lr'] = rate * factor
        inputs = self.image.detach().requires_grad_()
        loss = class_balanced_loss(self.net(inputs)[-1], self.label, self.net.reduction)
        (loss / self.accumulate).backward()
        self.passes += 1
        if self.passes % self.accumulate == 0:
            self.optimizer.step()
            self.optimizer.zero_grad()
        return loss.item()


@torch.no_grad()
def infer(net, rgb):
    """uint8 RGB (H, W, 3) -> float32 (H, W), the object's probability."""
    return torch.sigmoid(net(net.prepare(rgb))[-1])[0, 0].numpy()


# ---------------------------------------------------------------------------------------------- goldens


@torch.no_grad()
def fill_by_formula(net, seed):
    for name, tensor in net.state_dict().items():
        if name.startswith('upscale'):
            continue
        reach = (6 / tensor[0].numel()) ** 0.5 if name.endswith('.weight') else 0.05
        values = (-reach + 2 * reach * formula(name, tensor.numel(), seed)).astype(np.float32)
        tensor.copy_(torch.from_numpy(values).view(tensor.shape))


def check_golden(path, check):
    golden = json.loads(path.read_text())
    tensors = read_safetensors(path.with_suffix('.safetensors'))
    height, width, seed = golden['H'], golden['W'], golden['seed']
    net = VggOsvos()
    fill_by_formula(net, seed)
    pixels = np.floor(formula('image', 3 * height * width, seed) * 256).astype(np.uint8)
    rgb = pixels.reshape(3, height, width).transpose(1, 2, 0)
    label = torch.zeros(1, 1, height, width)
    label[:, :, slice(*golden['mask']['rows']), slice(*golden['mask']['cols'])] = 1

    outputs = net(net.prepare(rgb))
    for i, logits in enumerate(outputs):
        check(f'logits {i}', logits.detach(), tensors[f'logits.{i}'], 1e-4)
        check(f'loss {i}', class_balanced_loss(logits, label).item(), golden['loss'][i], 1e-5)
        check(f'mean loss {i}', class_balanced_loss(logits, label, 'mean').item(), golden['loss_size_average'][i], 1e-5)
    class_balanced_loss(outputs[-1], label).backward()
    parameters = dict(net.named_parameters())
    norms = golden['grad_norm_fuse_only']
    ratios = [parameters[name].grad.double().norm().item() / want for name, want in norms.items()]
    check('gradient norms', ratios, [1.0] * len(ratios), 1e-4)
    net.zero_grad()

    start = {name: tensor.detach().clone() for name, tensor in parameters.items()}
    trainer = OnlineTrainer(net, net.prepare(rgb), label)
    want = golden['online_loss_trace_20_passes_accumulate_5']
    trace = [trainer.train_pass() for _ in want]
    for i in (0, 5, 10, 15, 19):
        check(f'online loss {i}', trace[i], want[i], 1e-3)
    for name, moved in golden['online_param_delta_norm_after_4_updates'].items():
        check(f'movement of {name}', (parameters[name].detach() - start[name]).double().norm().item(), moved, 1e-3)
    with torch.no_grad():
        check('logits after 4 updates', net(net.prepare(rgb))[-1], tensors['logits_after_4_updates'], 1e-3)


# ---------------------------------------------------------------------------------------------- program


def serve(options):
    net = BACKBONES[options.backbone]()
    height, width = options.height, options.width
    if options.weights:
        load_weights(net, options.weights)
    rgb = np.floor(formula('image', height * width * 3, options.seed) * 256).astype(np.uint8).reshape(height, width, 3)
    label = torch.zeros(1, 1, height, width)
    label[:, :, height // 4 : height // 2, width // 3 : 2 * width // 3] = 1
    trainer = OnlineTrainer(net, net.prepare(rgb), label, options.accumulate, options.cosine, options.learning_rate)
    units = {
        'train': lambda: {'value': trainer.train_pass()},
        'infer': lambda: {'value': float(infer(net, rgb).mean())},
    }
    serve_units(
        units, backbone=options.backbone, height=height, width=width, parameters=sum(p.numel() for p in net.parameters())
    )


def load_weights(net, path):
    """Starts from a file of torchvid's; the fixed filters of the upsampling, which it may keep in another shape, are
    the network's own."""
    names = net.keras_names() if isinstance(net, MobileOsvos) else {}
    tensors = {}
    for name, tensor in read_safetensors(path).items():
        layer, kind = name.rsplit('.', 1)
        if not name.startswith('upscale'):
            tensors[f'{names.get(layer, layer)}.{kind}'] = tensor
    result = net.load_state_dict(tensors, strict=False)
    lacking = [n for n in result.missing_keys if not n.startswith('upscale') and not n.endswith('num_batches_tracked')]
    if lacking or result.unexpected_keys:
        raise ValueError(f'{path}: lacks {lacking}, has {result.unexpected_keys}')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', nargs='+', type=pathlib.Path, metavar='GOLDEN.json')
    parser.add_argument('--backbone', choices=BACKBONES, default='vgg16')
    parser.add_argument('--height', type=int, default=480)
    parser.add_argument('--width', type=int, default=854)
    parser.add_argument('--accumulate', type=int, default=5, help='passes per update')
    parser.add_argument('--learning-rate', type=float, help="default: the recipe's")
    parser.add_argument('--cosine', type=int, help='passes in which the learning rate falls to 0; default: it stays')
    parser.add_argument('--weights', type=pathlib.Path, help='a safetensors file of torchvid to start from')
    parser.add_argument('--threads', type=int, help="default: PyTorch's own choice")
    parser.add_argument('--seed', type=int, default=1)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    serve_or_check(options, serve, check_golden)


if __name__ == '__main__':
    main()
