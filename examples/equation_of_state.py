"""The equation of state of seven metals: how they answer to being squeezed.

For each metal the energy per atom of the fcc crystal is computed at 21 lattice constants, a third-order Birch-Murnaghan
equation of state is fitted, and its minimum and curvature give the lattice constant and the bulk modulus. They are put
beside the measured values in a table and drawn as a figure.

    python examples/equation_of_state.py

Run it twice: the second time every result is reused. Interrupt or kill it, and run it again: it goes on where it was.
"""

import csv
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tidemill as tm

RESULTS = Path("demo-results")
BLUE, ORANGE = "#1f5a92", "#d1671f"


class Measured(NamedTuple):
    """Lattice constant in Å and isothermal bulk modulus in GPa, both at room temperature."""

    a: float
    bulk_modulus: float


# C. Kittel, Introduction to Solid State Physics, 8th edition, Wiley 2005: chapter 1, table 3 (crystal structures of the
# elements) and chapter 3, table 3 (isothermal bulk moduli, after K. Gschneidner).
EXPERIMENT = {
    "Al": Measured(4.05, 72.2),
    "Ni": Measured(3.52, 186.0),
    "Cu": Measured(3.61, 137.0),
    "Pd": Measured(3.89, 180.8),
    "Ag": Measured(4.09, 100.7),
    "Pt": Measured(3.92, 278.3),
    "Au": Measured(4.08, 173.2),
}

EV_PER_CUBIC_ANGSTROM = 160.21766208  # in GPa; CODATA 2014, as in ASE


@tm.task(retries=2)
def energy(symbol: str, a: float) -> float:
    """Energy per atom, in eV, of an fcc metal with lattice constant `a` in Å, by effective medium theory.

    The potential is that of K. W. Jacobsen, P. Stoltze and J. K. Nørskov, Surf. Sci. 366, 394 (1996), as in ASE.
    """
    from ase.build import bulk
    from ase.calculators.emt import EMT

    atoms = bulk(symbol, "fcc", a=a)
    atoms.calc = EMT()
    return float(atoms.get_potential_energy()) / len(atoms)


@tm.task
def fit(symbol: str, a: list[float], e: list[float]) -> dict[str, Any]:
    """Fit the third-order Birch-Murnaghan equation of state (F. Birch, Phys. Rev. 71, 809 (1947)).

    In x = V^(-2/3) it is a cubic polynomial, so the fit is linear and needs no starting point. With E'' for d²E/dx² at
    the minimum x0, and V0 = x0^(-3/2), the bulk modulus V d²E/dV² is 4/9 E'' V0^(-7/3).

    Args:
        symbol: the metal.
        a: lattice constants in Å, shape (n,).
        e: energies per atom in eV, shape (n,).

    Returns:
        Lattice constant `a0` in Å, energy per atom `e0` in eV, bulk modulus `bulk_modulus` in GPa and its pressure
        derivative `derivative`, the coefficients `cubic` of E(x), lowest first, and the points `a` and `e`.
    """
    volume = np.asarray(a) ** 3 / 4  # of one atom: an fcc cell has four
    x = volume ** (-2 / 3)
    curve = np.polynomial.Polynomial.fit(x, e, 3)
    slope, curvature = curve.deriv(1), curve.deriv(2)
    x0 = next(float(root.real) for root in slope.roots() if abs(root.imag) < 1e-9 and curvature(root.real) > 0)
    v0 = x0**-1.5
    third = float(curve.deriv(3)(x0))
    bend = float(curvature(x0))
    return {
        "symbol": symbol,
        "a0": float((4 * v0) ** (1 / 3)),
        "e0": float(curve(x0)),
        "bulk_modulus": 4 / 9 * bend * v0 ** (-7 / 3) * EV_PER_CUBIC_ANGSTROM,
        "derivative": 4 + 2 / 3 * x0 * third / bend,
        "cubic": [float(c) for c in curve.convert().coef],
        "a": [float(value) for value in a],
        "e": [float(value) for value in e],
    }


@tm.task
def text_table(fits: list[dict[str, Any]]) -> Path:
    """The comparison with experiment as a table to read."""
    lines = [
        "           lattice constant (Å)           bulk modulus (GPa)",
        "metal      EMT  measured     diff         EMT  measured     diff",
    ]
    for row in fits:
        a, b, measured = row["a0"], row["bulk_modulus"], EXPERIMENT[row["symbol"]]
        lines.append(
            f"{row['symbol']:5} {a:8.3f} {measured.a:9.2f} {a / measured.a - 1:+8.1%}"
            f"    {b:8.1f} {measured.bulk_modulus:9.1f} {b / measured.bulk_modulus - 1:+8.1%}"
        )
    lines += [
        "",
        "EMT: effective medium theory, K. W. Jacobsen et al., Surf. Sci. 366, 394 (1996), as in ASE.",
        "Measured, at room temperature: C. Kittel, Introduction to Solid State Physics, 8th ed. (2005).",
    ]
    path = Path("table.txt")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@tm.task
def csv_table(fits: list[dict[str, Any]]) -> Path:
    """The same for programs, with all digits; the header states the units."""
    path = Path("table.csv")
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(
            [
                "metal",
                "a_angstrom",
                "a_measured_angstrom",
                "bulk_modulus_gpa",
                "bulk_modulus_measured_gpa",
                "derivative",
            ]
        )
        for row in fits:
            a, b = EXPERIMENT[row["symbol"]]
            rows.writerow([row["symbol"], row["a0"], a, row["bulk_modulus"], b, row["derivative"]])
    return path


@tm.task
def figure(fits: list[dict[str, Any]]) -> Path:
    """Energy against lattice constant, one panel for each metal on one scale, and the bulk moduli side by side."""
    from matplotlib.figure import Figure

    page = Figure(figsize=(11, 6), layout="constrained")
    panels = list(page.subplots(2, 4).flat)
    top = max(max(row["e"]) - row["e0"] for row in fits) * 1000
    for row, panel in zip(fits, panels, strict=False):
        _draw_curve(panel, row)
        panel.set_ylim(-0.05 * top, 1.05 * top)
        panel.set_xlabel("lattice constant (Å)", size=9)
    for inner in panels[1:4] + panels[5:7]:
        inner.tick_params(labelleft=False)
    for first in panels[::4]:
        first.set_ylabel("energy above minimum (meV/atom)", size=9)
    _draw_moduli(panels[-1], fits)
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8, length=3)
    page.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    path = Path("eos.png")
    page.savefig(path, dpi=160)
    return path


def _draw_curve(panel: Any, row: dict[str, Any]) -> None:
    a = np.linspace(row["a"][0], row["a"][-1], 200)
    curve = np.polynomial.Polynomial(row["cubic"])((a**3 / 4) ** (-2 / 3))
    panel.plot(
        row["a"], (np.array(row["e"]) - row["e0"]) * 1000, "o", color=BLUE, mfc="white", ms=4, zorder=3, label="EMT"
    )
    panel.plot(a, (curve - row["e0"]) * 1000, color=BLUE, lw=1.4, label="Birch-Murnaghan fit")
    panel.axvline(EXPERIMENT[row["symbol"]].a, color=ORANGE, lw=1.2, ls="--", zorder=0, label="measured")
    panel.set_title(row["symbol"], loc="left", weight="bold", color=BLUE)
    panel.set_title(f"{row['a0']:.3f} Å", loc="right", size=9)
    panel.locator_params(axis="x", nbins=5)


def _draw_moduli(panel: Any, fits: list[dict[str, Any]]) -> None:
    symbols = [row["symbol"] for row in fits]
    measured = [EXPERIMENT[symbol].bulk_modulus for symbol in symbols]
    computed = [row["bulk_modulus"] for row in fits]
    panel.hlines(symbols, measured, computed, color=BLUE, lw=1.4)
    panel.plot(measured, symbols, "|", color=ORANGE, ms=12, mew=2)
    panel.plot(computed, symbols, "o", color=BLUE, mfc="white", ms=5)
    panel.set_title("Bulk modulus", loc="left", weight="bold", color=BLUE)
    panel.set_xlabel("bulk modulus (GPa)", size=9)
    panel.set_xlim(0, 300)
    panel.invert_yaxis()


@tm.workflow
def equation_of_state(symbol: str):
    """Sweep the lattice constant by 3 % around the measured one, and fit."""
    middle = EXPERIMENT[symbol].a
    a = tm.sweep(np.linspace(0.97 * middle, 1.03 * middle, 21))
    return fit(symbol, a, energy(symbol, a))


@tm.workflow
def campaign():
    """All metals, and what is made of them together."""
    fits = [equation_of_state(symbol) for symbol in EXPERIMENT]
    return {"table.txt": text_table(fits), "table.csv": csv_table(fits), "eos.png": figure(fits)}


def main() -> None:
    files = campaign().run(store=".tidemill", workers=2)
    RESULTS.mkdir(exist_ok=True)
    for name, file in files.items():
        shutil.copyfile(file, RESULTS / name)
    print((RESULTS / "table.txt").read_text(encoding="utf-8"))
    print("Results:", *(RESULTS / name for name in files))


if __name__ == "__main__":
    main()
