"""Who is alike: identity vectors from transitions by a variational autoencoder, their clusters, and masks for them.

Steps 2-4 of adaptive parameter sharing (`agent.backbones.adaps`); used once in a training, never when playing. Networks
and defaults follow the closest published code (selective parameter sharing, Christianos et al. 2021), since the paper
gives none. Random numbers are drawn from a state of their own, so training goes on as if nothing had been drawn.
"""

from __future__ import annotations

import logging
from typing import NamedTuple, Sequence, Tuple

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

log = logging.getLogger(__name__)

FEW = 32  # a key with fewer transitions has no identity of its own


class Transitions(NamedTuple):
    """n steps of entities that go by one of K identity keys."""

    key: Tensor  # [n] int64
    before: Tensor  # [n, D] float32
    action: Tensor  # [n, F] int64
    reward: Tensor  # [n] float32
    after: Tensor  # [n, D] float32


class IdentityVAE(nn.Module):
    """One-hot key -> 64 -> identity (mean, log variance); identity, observation, action -> 64 -> 64 -> what comes next.

    All keys start at nearly the same identity (small last layer), so that how they differ in the end was learned.
    """

    def __init__(self, keys: int, latent: int, inputs: int, outputs: int, hidden: int = 64):
        super().__init__()
        identity = nn.Linear(hidden, 2 * latent)
        with torch.no_grad():
            identity.weight.mul_(0.1)
        self.encoder = nn.Sequential(nn.Linear(keys, hidden), nn.ReLU(), identity)
        layers = [nn.Linear(latent + inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)]
        self.decoder = nn.Sequential(*layers)

    def encode(self, one_hot: Tensor) -> Tuple[Tensor, Tensor]:
        """[n, K] -> mean [n, z] and log variance [n, z]."""
        mean, log_variance = self.encoder(one_hot).chunk(2, 1)
        return mean, log_variance

    def loss(self, one_hot: Tensor, known: Tensor, target: Tensor, kl: float, generator: torch.Generator) -> Tensor:
        """Squared error summed over the target, and `kl` times the divergence from the unit normal; mean over rows."""
        mean, log_variance = self.encode(one_hot)
        z = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=generator)
        error = (self.decoder(torch.cat([z, known], 1)) - target).square().sum(1)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        return (error + kl * divergence).mean()


def standardize(values: Tensor) -> Tensor:
    """Columns [n, D] that vary, with mean 0 and deviation 1; so no unit and no large feature rules the summed error."""
    deviation, mean = torch.std_mean(values, 0, unbiased=False)
    varies = deviation > 1e-6
    return (values[:, varies] - mean[varies]) / deviation[varies]


def decoder_data(data: Transitions, hidden: Tuple[int, int] = (0, 0)) -> Tuple[Tensor, Tensor]:
    """What the decoder is told (observation and action) and what it must foretell (next observation and reward).

    The columns `hidden[0]` to below `hidden[1]` are foretold, but not told: if the observation says who acts, the decoder
    need not ask the identity vector, which then carries nothing.
    """
    shown = torch.ones(data.before.shape[1], dtype=torch.bool)
    shown[hidden[0] : hidden[1]] = False
    action = [F.one_hot(factor).float() for factor in data.action.unbind(1)]
    known = torch.cat([standardize(data.before[:, shown]), *action], 1)
    return known, torch.cat([standardize(data.after), standardize(data.reward[:, None])], 1)


def learn_identities(
    data: Transitions,
    keys: int,
    hidden: Tuple[int, int] = (0, 0),
    latent: int = 10,
    epochs: int = 10,
    batch: int = 128,
    learning_rate: float = 3e-4,
    kl: float = 1e-4,
    seed: int = 0,
) -> Tensor:
    """Identity vectors [keys, latent]: the encoder's means after training on the transitions; on the CPU."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        known, target = decoder_data(data, hidden)
        one_hot = F.one_hot(data.key, keys).float()
        vae = IdentityVAE(keys, latent, known.shape[1], target.shape[1])
        optimizer = torch.optim.Adam(vae.parameters(), lr=learning_rate)
        for epoch in range(epochs):
            total = 0.0
            for rows in torch.randperm(len(one_hot), generator=generator).split(batch):
                loss = vae.loss(one_hot[rows], known[rows], target[rows], kl, generator)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += float(loss.detach()) * len(rows)
            log.info("identities: epoch %d of %d, loss %.3f over %d outputs", epoch + 1, epochs, total / len(one_hot), target.shape[1])
        with torch.no_grad():
            return vae.encode(torch.eye(keys))[0]


def find_clusters(identity: Tensor, clusters: int, max_clusters: int, seed: int = 0) -> Tuple[Tensor, Tensor]:
    """K-means++ of identity vectors [n, z]: which cluster each is in [n] int64, and the centres [K, z].

    With `clusters` 0, K is the number from 2 to `max_clusters` of the least Davies-Bouldin score, and at most n / 2: the score
    takes a cluster of one vector for a perfect one. Fewer than three vectors are a cluster each. scikit-learn is imported
    here, since nothing else needs it.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import davies_bouldin_score

    points = identity.double().numpy()
    n = len(points)
    if n < 3:
        clusters = n
    numbers = [min(clusters, n)] if clusters else list(range(2, min(max_clusters, max(n // 2, 2)) + 1))
    fits = [KMeans(number, n_init=10, random_state=seed).fit(points) for number in numbers]  # pyright: ignore[reportArgumentType]
    scores = [davies_bouldin_score(points, fit.labels_) for fit in fits] if len(fits) > 1 else [0.0]
    best = fits[int(np.argmin(scores))]
    centres = np.asarray(best.cluster_centers_, np.float32)
    log.info("identities: %d keys in %d clusters", n, len(centres))
    return torch.from_numpy(np.asarray(best.labels_, np.int64)), torch.from_numpy(centres)


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre [n] int64 of points [n, z] among centres [K, z]."""
    return (points[:, None] - centres[None]).square().sum(2).argmin(1)


def neuron_masks(centres: Tensor, mapping: Sequence[Tensor], threshold: float) -> Tensor:
    """Binary masks [K, neurons] of clusters with centres [K, z], by the fixed mapping net (weights [h, z], [h], [neurons, h]).

    Centres are taken from their mean and scaled to unit variance, and a cluster's logits to mean 0 and deviation 1 over the
    neurons: so the threshold on their sigmoid means the same in every latent space (0.5 keeps half, 0.7 a fifth, 0.9 one
    in seventy).
    """
    inner, bias, outer = mapping
    spread = centres - centres.mean(0)
    spread = spread / spread.square().mean().sqrt().clamp(min=1e-12)
    logits = F.relu(F.linear(spread, inner, bias)) @ outer.t()
    deviation, mean = torch.std_mean(logits, 1, keepdim=True, unbiased=False)
    return (torch.sigmoid((logits - mean) / deviation) > threshold).float()
