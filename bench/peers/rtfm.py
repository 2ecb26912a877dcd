"""RTFM in plain eager PyTorch: the program that torchvid is timed against. Development only, never shipped.

It is written from the published facts of the method the way its reference implementation computes it: ten crops folded
into the batch, two loaders (normal, abnormal) whose items are loaded from .npy and resampled to 32 segments, crop by
crop, at every step; dropout also on the magnitudes that choose the top segments; Adam with weight decay. Beside it
the MIL ranking loss with Adagrad. `resident` steps take batches that are in memory already: what is left is arithmetic.

  python rtfm.py --check GOLDEN.json [...]      compare with golden numbers (scores, losses, gradients, steps)
  python rtfm.py --bags FOLDER --seeds 5        train on the bags of examples/rtfm-davis.mjs; frame-level ROC AUC
  python rtfm.py --set SET.json ...             read `resident N DROPOUT`, `loop N DROPOUT`, `cold N DROPOUT` or `quit`
                                                from stdin; do so many steps per line (with batches in memory, with
                                                files that the system has cached, or not) and answer with one JSON line
"""

import argparse
import json
import os
import pathlib
import time

import numpy as np
import torch
from common import fill_by_formula, formula, read_safetensors, serve_or_check, serve_units
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

SEGMENTS = 32

# ---------------------------------------------------------------------------------------------- the networks


class NonLocal(nn.Module):
    """Attention over time without a softmax: products divided by the number of positions. Input (N, C, T)."""

    def __init__(self, channels):
        super().__init__()
        inner = channels // 2
        self.g = nn.Conv1d(channels, inner, 1)
        self.theta = nn.Conv1d(channels, inner, 1)
        self.phi = nn.Conv1d(channels, inner, 1)
        self.W = nn.Sequential(nn.Conv1d(inner, channels, 1), nn.BatchNorm1d(channels))

    def forward(self, x):
        weights = torch.matmul(self.theta(x).transpose(1, 2), self.phi(x)) / x.shape[2]
        y = torch.matmul(weights, self.g(x).transpose(1, 2)).transpose(1, 2).contiguous()
        return self.W(y) + x


class Aggregate(nn.Module):
    """Three dilated convolutions and the attention side by side, joined, added to the input. (N, F, T) to the same."""

    def __init__(self, size, width=512):
        super().__init__()

        def branch(dilation):
            layer = nn.Conv1d(size, width, 3, dilation=dilation, padding=dilation)
            return nn.Sequential(layer, nn.ReLU(), nn.BatchNorm1d(width))

        self.conv_1, self.conv_2, self.conv_3 = branch(1), branch(2), branch(4)
        self.conv_4 = nn.Sequential(nn.Conv1d(size, width, 1, bias=False), nn.ReLU())
        last = nn.Conv1d(4 * width, size, 3, padding=1, bias=False)
        self.conv_5 = nn.Sequential(last, nn.ReLU(), nn.BatchNorm1d(size))
        self.non_local = NonLocal(width)

    def forward(self, x):
        branches = [self.conv_1(x), self.conv_2(x), self.conv_3(x), self.non_local(self.conv_4(x))]
        return self.conv_5(torch.cat(branches, dim=1)) + x


class Rtfm(nn.Module):
    """(B, crops, T, F) -> scores (B, T), magnitudes (B, T), features (B, crops, T, F)."""

    def __init__(self, size=2048, dropout=0.7):
        super().__init__()
        self.Aggregate = Aggregate(size)
        self.fc1, self.fc2, self.fc3 = nn.Linear(size, 512), nn.Linear(512, 128), nn.Linear(128, 1)
        self.drop_out = nn.Dropout(dropout)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv1d, nn.Linear)):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.Aggregate.non_local.W[1].weight)

    def forward(self, x):
        videos, crops, length, size = x.shape
        features = self.Aggregate(x.view(-1, length, size).transpose(1, 2)).transpose(1, 2)
        features = self.drop_out(features)
        hidden = self.drop_out(F.relu(self.fc1(features)))
        hidden = self.drop_out(F.relu(self.fc2(hidden)))
        scores = torch.sigmoid(self.fc3(hidden)).view(videos, crops, length).mean(1)
        magnitudes = torch.norm(features, p=2, dim=2).view(videos, crops, length).mean(1)
        return scores, magnitudes, features.view(videos, crops, length, size)


class DeepMil(nn.Module):
    """Three linear layers, segment by segment. (B, crops, T, F) -> scores (B, T)."""

    def __init__(self, size=4096, dropout=0.6):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(size, 512), nn.Linear(512, 32), nn.Linear(32, 1)
        self.drop_out = nn.Dropout(dropout)
        for layer in (self.fc1, self.fc2, self.fc3):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        hidden = self.drop_out(F.relu(self.fc1(x)))
        hidden = self.drop_out(self.fc2(hidden))
        return (torch.sigmoid(self.fc3(hidden))[..., 0].mean(1),)


# ---------------------------------------------------------------------------------------------- the objectives


def smoothness(scores):
    """Squared differences of neighbours."""
    return ((scores[..., 1:] - scores[..., :-1]) ** 2).sum()


def top_segments(magnitudes, features, scores, keep, k):
    """By magnitude, some of them dropped: (crops * B, k, F) features and (B,) mean scores. The crops share the choice."""
    chosen = torch.topk(magnitudes * keep(torch.ones_like(magnitudes)), k, dim=1)[1]  # (B, k)
    wide = chosen[:, :, None].expand(-1, -1, features.shape[3])
    taken = torch.cat([torch.gather(crop, 1, wide) for crop in features.unbind(1)])
    return taken, torch.gather(scores, 1, chosen).mean(1)


def rtfm_losses(net, outputs, normal_count):
    """Of a batch with the normal videos first, as the reference's code has it."""
    scores, magnitudes, features = outputs
    k = max(1, scores.shape[1] // 10)
    normal, abnormal = slice(None, normal_count), slice(normal_count, None)

    def top(part):
        return top_segments(magnitudes[part], features[part], scores[part], net.drop_out, k)

    features_abnormal, score_abnormal = top(abnormal)
    features_normal, score_normal = top(normal)
    labels = torch.cat([torch.zeros_like(score_normal), torch.ones_like(score_abnormal)])
    far = (100 - torch.norm(features_abnormal.mean(1), p=2, dim=1)).abs()
    near = torch.norm(features_normal.mean(1), p=2, dim=1)
    flat = scores[abnormal].reshape(-1)
    return {
        'bce': F.binary_cross_entropy(torch.cat([score_normal, score_abnormal]), labels),
        'magnitude': 1e-4 * ((far + near) ** 2).mean(),
        'smooth': 8e-4 * smoothness(flat),
        'sparse': 8e-3 * torch.norm(flat),
    }


def mil_losses(_net, outputs, normal_count):
    """Every abnormal video's greatest score should be one above every normal video's."""
    scores = outputs[0]
    normal, abnormal = scores[:normal_count], scores[normal_count:]
    gaps = 1 - abnormal.max(1)[0][None, :] + normal.max(1)[0][:, None]
    return {
        'hinge': gaps.clamp_min(0).sum(1).mean(),
        'smooth': 8e-5 * smoothness(abnormal),
        'sparse': 8e-5 * abnormal.sum(),
    }


def adagrad(net, lr):
    """Weights, not biases, pay 0.001 times their squares."""
    weights = [p for name, p in net.named_parameters() if name.endswith('weight')]
    biases = [p for name, p in net.named_parameters() if name.endswith('bias')]
    groups = [{'params': weights, 'weight_decay': 0.002}, {'params': biases, 'weight_decay': 0}]
    return torch.optim.Adagrad(groups, lr=lr, eps=1e-8)


def adam(net, lr, decay=5e-3):
    return torch.optim.Adam(net.parameters(), lr=lr, weight_decay=decay)


KINDS = {'rtfm': (Rtfm, rtfm_losses, adam), 'deepMil': (DeepMil, mil_losses, adagrad)}


class Trainer:
    def __init__(self, net, losses, optimizer):
        self.net, self.losses, self.optimizer = net.train(), losses, optimizer

    def forward_backward(self, normal, abnormal):
        outputs = self.net(torch.cat([normal, abnormal]))
        parts = self.losses(self.net, outputs, len(normal))
        loss = sum(parts.values())
        self.optimizer.zero_grad()
        loss.backward()
        return {'total': loss.item(), **{name: part.item() for name, part in parts.items()}}, outputs

    def step(self, normal, abnormal):
        parts, _ = self.forward_backward(normal, abnormal)
        self.optimizer.step()
        return parts


# ---------------------------------------------------------------------------------------------- data


def resample(rows, count=SEGMENTS):
    """(T, F) -> (count, F): means of the rows between equally spaced borders; one row where two coincide."""
    borders = np.linspace(0, len(rows), count + 1, dtype=int)
    result = np.zeros((count, rows.shape[1]), dtype=np.float32)
    for i in range(count):
        first, end = borders[i], borders[i + 1]
        result[i] = rows[first:end].mean(0) if first != end else rows[first]
    return result


class Videos(Dataset):
    """Feature files (T, crops, F), each loaded and resampled whenever it is its turn."""

    def __init__(self, files, cold=False):
        self.files, self.cold = files, cold

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        if self.cold:
            forget(self.files[index])
        features = np.load(self.files[index]).astype(np.float32)
        return np.stack([resample(crop) for crop in features.transpose(1, 0, 2)])


def forget(file):
    """Drops a file from the page cache, as where a set of features is larger than the memory."""
    descriptor = os.open(file, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def endless(files, batch, shuffle, cold=False):
    """Epochs one after another; an epoch's last, incomplete batch is dropped."""
    loader = DataLoader(Videos(files, cold), batch, shuffle=shuffle, drop_last=True)
    while True:
        yield from loader


@torch.no_grad()
def score(net, file):
    """One score per segment of a whole video."""
    features = np.load(file).astype(np.float32).transpose(1, 0, 2)
    return net.eval()(torch.from_numpy(np.ascontiguousarray(features))[None])[0][0].numpy()


def roc_auc(scores, labels):
    """The share of pairs that are in the right order; ties count half."""
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    positive = int(labels.sum())
    negative = len(labels) - positive
    return (ranks[labels == 1].sum() - positive * (positive + 1) / 2) / (positive * negative)


# ---------------------------------------------------------------------------------------------- goldens


def formula_features(name, shape, seed):
    return torch.from_numpy((2 * formula(name, int(np.prod(shape)), seed) ** 4).astype(np.float32)).view(shape)


def check_rtfm(golden, tensors, check):
    batch, seed, adam_steps = golden['batch'], golden['seed'], golden['adam_3_steps']
    net = Rtfm(dropout=0)
    fill_by_formula(net, seed)
    with torch.no_grad():
        scores, magnitudes, _ = net.eval()(formula_features('video', (1, 10, 53, 2048), seed))
    check('scores of 53 segments', scores, tensors['eval_scores_T53'][..., 0], 1e-5)
    check('magnitudes of 53 segments', magnitudes, tensors['eval_magnitudes_T53'], 1e-5)

    normal = formula_features('normal', (batch, 10, SEGMENTS, 2048), seed)
    abnormal = formula_features('abnormal', (batch, 10, SEGMENTS, 2048), seed + 1000)
    trainer = Trainer(net, rtfm_losses, adam(net, adam_steps['lr'], adam_steps['weight_decay']))
    parts, (scores, magnitudes, _) = trainer.forward_backward(normal, abnormal)
    check('scores', scores.detach(), tensors['scores'][..., 0], 1e-5)
    check('magnitudes', magnitudes.detach(), tensors['magnitudes'], 1e-5)
    for name, want in golden['loss'].items():
        check(f'loss, {name}', parts[name], want, 1e-5)
    # A bias before a batch-norm has no gradient but rounding.
    wanted = {name: norm for name, norm in golden['grad_norm'].items() if norm > 1e-6}
    parameters = dict(net.named_parameters())
    ratios = [parameters[name].grad.double().norm().item() / norm for name, norm in wanted.items()]
    check('gradient norms', ratios, [1.0] * len(ratios), 1e-4)

    fill_by_formula(net, seed)
    for i, want in enumerate(adam_steps['loss']):
        parts = trainer.step(normal, abnormal)
        for name, value in want.items():
            check(f'Adam, step {i}, {name}', parts[name], value, 1e-4)
    for name, want in golden['param_norm_after_3_steps'].items():
        check(f'norm of {name} after 3 steps', parameters[name].detach().double().norm(), want, 1e-3)


def check_mil(golden, folder, check):
    seed, fixed, real = golden['seed'], golden['formula_scores'], golden['real_features']

    def scores_of(name, seed):
        numbers = formula(name, int(np.prod(fixed[name])), seed).astype(np.float32)
        return torch.from_numpy(numbers).view(fixed[name]).requires_grad_()

    abnormal, normal = scores_of('abnormal', seed), scores_of('normal', seed + 1000)
    parts = mil_losses(None, [torch.cat([normal, abnormal])], len(normal))
    total = sum(parts.values())
    total.backward()
    for name, part in {'total': total, **parts}.items():
        check(f'loss, {name}', part.item(), fixed['loss'][name], 1e-5)
    for name, scores in (('abnormal', abnormal), ('normal', normal)):
        check(f'gradient norm, {name}', scores.grad.double().norm(), fixed['gradient_norm'][name], 1e-5)
        check(f'gradient, {name}', scores.grad[0], fixed[f'gradient_{name}_row0'], 1e-5)

    net = DeepMil(dropout=0)
    fill_by_formula(net, seed)

    def videos(names):
        return torch.stack([torch.from_numpy(np.load(folder / f'{name}.npy')) for name in names])[:, None]

    trainer = Trainer(net, mil_losses, adagrad(net, 0.01))
    batches = videos(real['normal']), videos(real['abnormal'])
    with torch.no_grad():
        check('scores of a real video', net(batches[1])[0][0], real['scores_abnormal0'], 1e-5)
    for i, want in enumerate(real['loss_before_each_of_4_adagrad_steps']):
        parts = trainer.step(*batches)
        check(f'Adagrad, step {i}, total', parts['total'], want['total'], 1e-3)
    with torch.no_grad():
        check('scores after the steps', net(batches[1])[0][0], real['scores_abnormal0_after'], 1e-3)


def check_golden(path, check):
    golden = json.loads(path.read_text())
    if 'real_features' in golden:
        return check_mil(golden, path.parents[2] / 'data' / 'rtfm' / 'ucf-crime-c3d', check)
    return check_rtfm(golden, read_safetensors(path.with_suffix('.safetensors')), check)


# ---------------------------------------------------------------------------------------------- bags


def train_bags(folder, seeds):
    """Trains on the bags of a folder once per seed; the frame-level ROC AUC of its test videos after the last step."""
    bags = json.loads((folder / 'bags.json').read_text())
    recipe = bags['recipe']
    areas = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        net = Rtfm(bags['featureSize'], recipe['dropout'])
        trainer = Trainer(net, rtfm_losses, adam(net, recipe['learningRate'], recipe['weightDecay']))
        normal, abnormal = (
            endless([folder / file for file in bags['train'][kind]], recipe['batchSize'], shuffle=True)
            for kind in ('normal', 'abnormal')
        )
        for _ in range(recipe['steps']):
            trainer.step(next(normal), next(abnormal))
        scores = [np.repeat(score(net, folder / video['file']), bags['framesPerSegment']) for video in bags['test']]
        labels = [np.array(video['labels']) for video in bags['test']]
        areas.append(roc_auc(np.concatenate(scores), np.concatenate(labels)))
        print(json.dumps({'seed': seed, 'rocAuc': areas[-1]}), flush=True)
    print(json.dumps({'mean': np.mean(areas), 'deviation': np.std(areas, ddof=1) if seeds > 1 else 0}))


# ---------------------------------------------------------------------------------------------- program


def serve(options):
    """`--set`: a JSON file with the paths of `normal` and `abnormal` videos' features."""
    if options.bags:
        return train_bags(options.bags, options.seeds)
    files = json.loads(options.set.read_text())
    network, losses, optimizer = KINDS[options.network]
    net = network(options.size, options.dropout)
    if options.weights:
        net.load_state_dict(read_safetensors(options.weights), strict=False)
    trainer = Trainer(net, losses, optimizer(net, options.learning_rate))

    def loaders(cold=False):
        return [endless(files[kind], options.batch, options.shuffle, cold) for kind in ('normal', 'abnormal')]

    batches = []

    def resident(steps, dropout):
        while len(batches) < options.resident:
            batches.append([next(loader) for loader in resident_loaders])
        net.drop_out.p = float(dropout)
        return time_steps(trainer, int(steps), lambda i: batches[i % len(batches)])

    def loop(steps, dropout, ours=None):
        net.drop_out.p = float(dropout)
        return time_steps(trainer, int(steps), lambda _: [next(loader) for loader in ours or warm_loaders])

    resident_loaders, warm_loaders, cold_loaders = loaders(), loaders(), loaders(cold=True)
    units = {'resident': resident, 'loop': loop, 'cold': lambda steps, dropout: loop(steps, dropout, cold_loaders)}
    serve_units(units, parameters=sum(p.numel() for p in net.parameters()))


def time_steps(trainer, steps, batch_of):
    """The whole time, the part of it in which data was made ready, and the losses."""
    losses, data, begin = [], 0, time.perf_counter()
    for i in range(steps):
        before = time.perf_counter()
        batch = batch_of(i)
        data += time.perf_counter() - before
        losses.append(trainer.step(*batch)['total'])
    return {'seconds': time.perf_counter() - begin, 'data': data, 'losses': losses}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', nargs='+', type=pathlib.Path, metavar='GOLDEN.json')
    parser.add_argument('--bags', type=pathlib.Path, metavar='FOLDER')
    parser.add_argument('--seeds', type=int, default=5)
    parser.add_argument('--set', type=pathlib.Path, metavar='SET.json')
    parser.add_argument('--network', choices=KINDS, default='rtfm')
    parser.add_argument('--size', type=int, default=2048, help='features per segment')
    parser.add_argument('--dropout', type=float, default=0.7)
    parser.add_argument('--weights', type=pathlib.Path, help='a safetensors file of torchvid to start from')
    parser.add_argument('--batch', type=int, default=32, help='videos of each kind')
    parser.add_argument('--resident', type=int, default=1, help='batches that are kept in memory for `resident`')
    parser.add_argument('--shuffle', action='store_true')
    parser.add_argument('--learning-rate', type=float, default=0.001)
    parser.add_argument('--threads', type=int, help="default: PyTorch's own choice")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    serve_or_check(options, serve, check_golden)


if __name__ == '__main__':
    main()
