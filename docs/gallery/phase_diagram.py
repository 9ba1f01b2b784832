r"""The generated share over the window's scale $\kappa$ and the number of samples."""

import dilaton
import numpy as np
from dilaton.numerics.batch import solve_rows
from dilaton.show import plots

P = 0.8


def figure(quick=False):
    limit = dilaton.derive(
        dilaton.Model(dilaton.two_modes(), data=dilaton.Data(samples=True))
    )
    kappa = np.linspace(0.25, 5, 6 if quick else 32)
    n = np.unique(
        5 * np.round(np.geomspace(1, 200, 4 if quick else 24))
    )  # p n is whole
    grid_kappa, grid_n = np.meshgrid(kappa, n)
    columns = {
        "kappa": grid_kappa.ravel(),
        "n": grid_n.ravel(),
        "n_plus": P * grid_n.ravel(),
        "p": P,
        "sigma": 1.0,
        "ridge_u": 1.0,
        "ridge_w": 1.0,
    }
    found = solve_rows(limit, columns, [1.0], rtol=1e-6)
    share = found["share_plus"].reshape(grid_n.shape)
    drawn, axes = plots.new_figure(1, 1, 6.4, 4.2)
    ax = axes[0, 0]
    image = ax.pcolormesh(kappa, n, share, cmap="cividis", shading="nearest")
    image.set_rasterized(True)
    lines = ax.contour(
        kappa,
        n,
        share,
        levels=[0.6, 0.7, 0.75, 0.79, 0.82, 0.86],
        colors="white",
        linewidths=1,
    )
    ax.clabel(lines, fontsize=8)
    ax.set_yscale("log")
    ax.grid(False)
    ax.set_xlabel(r"scale of the window $\kappa$")
    ax.set_ylabel("training samples $n$")
    ax.set_title(f"generated share of the + mode, $n_+ = {P}\\,n$")
    drawn.colorbar(image, ax=ax)
    return drawn
