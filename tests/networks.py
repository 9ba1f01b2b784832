"""Networks of several units that tests share, and a perturbed loss to reject."""

import torch
from dilaton.torchcheck.networks.network import Network
from dilaton.torchcheck.networks.network_loss import NetworkLoss


def random_point(loss, seed, own=0.6, along=0.5):
    """Parameters with fields of order one, whose units share a direction."""
    g = torch.Generator().manual_seed(seed)
    steps, (units, width) = len(loss.alpha), loss.data.means.shape
    like = {"generator": g, "dtype": torch.float64}
    c, b = torch.rand(steps, **like), 0.5 * torch.randn(steps, units, **like)
    each = torch.randn(2, steps, units, width, **like) / width**0.5
    shared = torch.randn(2, steps, 1, width, **like) / width**0.5
    u, w = each + shared
    mean = loss.data.means / loss.data.d**0.5
    return c, u + 0.5 * mean, own * w + along * mean, b


def network_of(loss, point):
    """The network with the parameters of a point."""
    c, u, w, b = point
    root = loss.data.d**0.5
    return Network(loss.data.d, c, root * u, root * w, b, loss.phi)


def uncorrelated(loss):
    """(N4) with each unit alone: the correlation of two fields' noise left out."""

    class Alone(NetworkLoss):
        def _products(self, mean, cov, squares):
            own = torch.diag_embed(torch.diagonal(cov, dim1=1, dim2=2))
            return super()._products(mean, own, squares)

    return Alone(**vars(loss))
