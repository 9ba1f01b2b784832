r"""Branch-free `exp` and `tanh`, to a few units in the last place.

The text of this file goes into every generated numba module. Nothing here branches,
so a loop over SIMD lanes vectorises; libm's own functions would not. NaN gives NaN.

Argument reduction is $x = k \ln 2 + r$ with $|r| \le \frac12 \ln 2$, and
$e^r - 1 = r + r^2 Q(r)$ with $Q$ the interpolating polynomial of degree 9 at
Chebyshev nodes (relative error 5e-17).
"""

from .stubs import float64, inlined, int64


@inlined
def expm1_reduced(r):
    """Return exp(r) - 1 for abs(r) <= log(2)/2."""
    r2 = r * r
    r4 = r2 * r2
    q01 = 0.5000000000000001 + r * 0.16666666666666669
    q23 = 0.041666666666623824 + r * 0.008333333333330039
    q45 = 0.0013888888917367081 + r * 0.00019841269863171557
    q67 = 2.4801521057868204e-05 + r * 2.7557268276905696e-06
    q89 = 2.7620201591031547e-07 + r * 2.5100472505694996e-08
    return r + r2 * ((q01 + r2 * q23) + r4 * ((q45 + r2 * q67) + r4 * q89))


@inlined
def exp(x):
    """Return e**x; 0 below -745 and infinity above 709.78."""
    y = -746.0 if x < -746.0 else x
    y = 710.0 if y > 710.0 else y
    shifted = y * 1.4426950408889634 + 6755399441055744.0
    k = shifted - 6755399441055744.0
    r = (y - k * 0.6931471803691238) - k * 1.9082149292705877e-10
    e = 1.0 + expm1_reduced(r)
    bits = float64(shifted).view(int64) - 4843621399236968448
    half = bits >> 1
    first = int64((half + 1023) << 52).view(float64)
    second = int64((bits - half + 1023) << 52).view(float64)
    return e * first * second


@inlined
def tanh(x):
    """Return the hyperbolic tangent, with full relative accuracy near zero."""
    bits = float64(x).view(int64)
    sign = bits & -0x8000000000000000
    size = int64(bits ^ sign).view(float64)
    y = 20.0 if size > 20.0 else size
    shifted = y * 2.8853900817779268 + 6755399441055744.0
    k = shifted - 6755399441055744.0
    r = (2.0 * y - k * 0.6931471803691238) - k * 1.9082149292705877e-10
    scale = int64((float64(shifted).view(int64) << 52) + 0x3FF0000000000000)
    e = scale.view(float64) * expm1_reduced(r) + (scale.view(float64) - 1.0)
    t = e / (e + 2.0)
    return int64(float64(t).view(int64) ^ sign).view(float64)


@inlined
def sign(x):
    """Return -1, 0 or 1; NaN for NaN."""
    below = -1.0 if x < 0.0 else 0.0 * x
    return 1.0 if x > 0.0 else below


@inlined
def where(condition, yes, no):
    """Return `yes` where the condition holds, else `no`."""
    return yes if condition else no


@inlined
def minimum(x, y):
    """Return the smaller one; NaN if either is."""
    return x if x < y or x != x else y


@inlined
def maximum(x, y):
    """Return the larger one; NaN if either is."""
    return x if x > y or x != x else y


@inlined
def rough_log2(x):
    """Return log2(x) within a hundredth, for 1e-300 < x < 1e300, without branches."""
    bits = float64(x).view(int64)
    m = int64((bits & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000).view(float64) - 1.0
    # the exponent as the last bits of a number of 2**52 and more
    e = int64(((bits >> 52) & 0x7FF) | 0x4330000000000000).view(float64)
    return (e - 4503599627371519.0) + m * (4.0 / 3.0 - m * (1.0 / 3.0))


@inlined
def rough_exp2(x):
    """Return 2**x within a thousandth, for -1000 < x < 1000, without branches."""
    shifted = x + 6755399441055744.0
    r = x - (shifted - 6755399441055744.0)
    scale = int64((float64(shifted).view(int64) << 52) + 0x3FF0000000000000)
    return (1.0 + r * (0.6931 + r * (0.2402 + r * 0.0555))) * scale.view(float64)
