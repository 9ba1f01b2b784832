/* The floor: nu' = kappa tanh(kappa s nu + h), by hand, for L rows at a time.

   Same methods, tolerances and step control as dilaton's compiled solver, with what a
   code for any system cannot have: the equation written in, one state, no dense
   output, no statuses. L, the number of lanes, is given to the compiler; floor.py
   prints steps.h from the coefficient table of DOP853, and series.h, the Taylor series
   of this equation.
   Compiled with -O3 -march=native -ffast-math, so that tanh becomes libmvec's vector
   tanh, and -fno-associative-math, so that sums keep their order: what is known last
   comes last. */

#include <math.h>

static void rhs(const double *restrict t, const double *restrict y,
                const double *restrict kappa, const double *restrict bias,
                double *restrict dy)
{
#pragma omp simd
    for (int l = 0; l < L; l++)
        dy[l] = kappa[l] * tanh(kappa[l] * t[l] * y[l] + bias[l]);
}

#include "series.h"
#include "steps.h"

static double first_step(double y, double slope, double rtol, double atol, double end)
{
    double rate = fabs(slope) / (atol + rtol * fabs(y));
    double h = rate > 0 ? pow(0.01 / rate, POWER) : end;
    return h < end ? h : end;
}

void integrate(long first, long last, const double *y0, const double *kappas,
               const double *biases, double end, double rtol, double atol, double *out)
{
    double t[L] = {0}, h[L] = {0}, y[L] = {0}, kappa[L] = {0}, bias[L] = {0};
    double tried[L], err[L], old[L], slope[L], want[L], factor[L];
    long row[L], waiting = first, active = 0;
    for (int l = 0; l < L; l++) {
        row[l] = -1;
        old[l] = 1e-4;
        want[l] = 0;
    }
    for (;;) {
        for (int l = 0; l < L; l++)
            if (row[l] < 0 && waiting < last) {
                row[l] = waiting++;
                active++;
                t[l] = 0;
                y[l] = y0[row[l]];
                kappa[l] = kappas[row[l]];
                bias[l] = biases[row[l]];
                old[l] = 1e-4;
                want[l] = 0;
            }
        if (active == 0)
            return;
        rhs(t, y, kappa, bias, slope);
        for (int l = 0; l < L; l++)
            if (want[l] == 0)
                want[l] = first_step(y[l], slope[l], rtol, atol, end);
#pragma omp simd
        for (int l = 0; l < L; l++) {
            double left = end - t[l];
            double half = 2 * want[l] > left ? 0.5 * left : want[l];
            h[l] = row[l] < 0 ? 0 : (want[l] * 1.0000001 > left ? left : half);
        }
        attempt(t, h, y, kappa, bias, slope, tried, err, rtol, atol);
#pragma omp simd
        for (int l = 0; l < L; l++) {
            double e = fmin(fmax(err[l], 1e-10), 1e10);
            double f = CAUTION * exp((0.75 * BETA - POWER) * log(e) + BETA * log(old[l]));
            f = fmin(fmax(f, 0.2), GROWTH);
            factor[l] = err[l] <= 1 ? f : fmin(f, 1.0);
            old[l] = err[l] <= 1 ? e : old[l];
        }
        for (int l = 0; l < L; l++) {
            double next = factor[l] * h[l];
            int good = err[l] <= 1, done = h[l] == end - t[l];
            want[l] = good && h[l] < want[l] && want[l] > next ? want[l] : next;
            if (!good || row[l] < 0)
                continue;
            t[l] = done ? end : t[l] + h[l];
            y[l] = tried[l];
            if (done) {
                out[row[l]] = y[l];
                row[l] = -1;
                active--;
            }
        }
    }
}

void integrate_series(long first, long last, const double *y0, const double *kappas,
                      const double *biases, double end, double rtol, double atol,
                      double *out)
{
    double t[L] = {0}, h[L] = {0}, y[L] = {0}, kappa[L] = {0}, bias[L] = {0};
    double c[(ORDER + 1) * L];
    long row[L], waiting = first, active = 0;
    for (int l = 0; l < L; l++)
        row[l] = -1;
    for (;;) {
        for (int l = 0; l < L; l++)
            if (row[l] < 0 && waiting < last) {
                row[l] = waiting++;
                active++;
                t[l] = 0;
                y[l] = y0[row[l]];
                kappa[l] = kappas[row[l]];
                bias[l] = biases[row[l]];
            }
        if (active == 0)
            return;
        series(t, y, kappa, bias, c);
#pragma omp simd
        for (int l = 0; l < L; l++) {
            double unit = 1 / (atol + rtol * fabs(y[l])), power = 1e300;
            for (int k = 0; k < 3; k++) {
                double size = fmax(fabs(c[(ORDER - k) * L + l]) * unit, 1e-290);
                power = fmin(power, (SIZE + k * FALL - log2(size)) / (ORDER - k));
            }
            double step = exp2(power), left = end - t[l];
            double half = 2 * step > left ? 0.5 * left : step;
            h[l] = row[l] < 0 ? 0 : (step * 1.0000001 > left ? left : half);
        }
#pragma omp simd
        for (int l = 0; l < L; l++) {
            double sum = c[ORDER * L + l];
            for (int k = ORDER - 1; k >= 0; k--)
                sum = sum * h[l] + c[k * L + l];
            y[l] = sum;
        }
        for (int l = 0; l < L; l++) {
            if (row[l] < 0)
                continue;
            if (h[l] == end - t[l]) {
                out[row[l]] = y[l];
                row[l] = -1;
                active--;
            } else
                t[l] += h[l];
        }
    }
}
