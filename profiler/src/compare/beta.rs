//! The regularised incomplete beta function, and what it needs.

/// ln(Gamma(x)) for x > 0, by Lanczos' series (g = 7, nine terms); relative error below 1e-13.
pub(super) fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let t = x + 7.5;
    let sum = TERMS[1..].iter().enumerate().fold(TERMS[0], |s, (i, c)| s + c / (x + i as f64 + 1.0));
    0.5 * std::f64::consts::TAU.ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

/// The share of a Beta(a, b) variable below `x`, 0 to 1: a continued fraction (DLMF 8.17.22), evaluated by Lentz' method.
pub(super) fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    // The fraction converges fast on this side of the mean; the other side is its mirror.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let front = (a * x.ln() + b * (1.0 - x).ln() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b)).exp() / a;
    let away_from_zero = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let (mut c, mut fraction) = (1.0, d);
    for m in 1..500 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away_from_zero(1.0 + even * d);
        c = away_from_zero(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away_from_zero(1.0 + odd * d);
        c = away_from_zero(1.0 + odd / c);
        let step = d * c;
        fraction *= step;
        if (step - 1.0).abs() < 1e-14 {
            break;
        }
    }
    (front * fraction).clamp(0.0, 1.0)
}

/// The share of a standard normal variable above `z` >= 0: a polynomial times the density (Abramowitz and Stegun 26.2.17
/// has too few digits for the tail, so this is the continued fraction 26.2.14, and the series near 0).
pub(super) fn normal_tail(z: f64) -> f64 {
    let density = (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
    if z < 2.5 {
        // Phi(z) - 1/2 = density * (z + z^3/3 + z^5/15 + ...), DLMF 7.6.2.
        let (mut term, mut sum) = (z, z);
        for k in 1..200 {
            term *= z * z / f64::from(2 * k + 1);
            sum += term;
            if term < 1e-17 * sum {
                break;
            }
        }
        return (0.5 - density * sum).max(0.0);
    }
    let fraction = (1..=80).rev().fold(z, |f, k| z + f64::from(k) / f);
    density / fraction
}

/// The value that a standard normal variable is below with probability `p`, by bisection of [`normal_tail`].
pub(super) fn normal_quantile(p: f64) -> f64 {
    if p < 0.5 {
        return -normal_quantile(1.0 - p);
    }
    let (mut low, mut high) = (0.0, 40.0);
    for _ in 0..80 {
        let middle = 0.5 * (low + high);
        if normal_tail(middle) > 1.0 - p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The binomial identity: for whole a and b the share is a sum that can be written down.
    #[test]
    fn the_incomplete_beta_is_a_binomial_tail() {
        for n in [1u32, 2, 5, 20, 61, 400] {
            for a in [1, n / 4, n / 2 + 1, n] {
                let a = a.max(1);
                for x in [0.01f64, 0.3, 0.5, 0.77, 0.99] {
                    let choose = |k: u32| (1..=k).fold(0.0, |s, i| s + f64::from(n + 1 - i).ln() - f64::from(i).ln());
                    let log = |k: u32| choose(k) + f64::from(k) * x.ln() + f64::from(n - k) * (1.0 - x).ln();
                    let want: f64 = (a..=n).map(|k| log(k).exp()).sum();
                    let got = incomplete_beta(f64::from(a), f64::from(n - a + 1), x);
                    assert!((got - want).abs() < 1e-9, "n {n}, a {a}, x {x}: {got} and {want}");
                }
            }
        }
        assert_eq!((incomplete_beta(2.0, 3.0, 0.0), incomplete_beta(2.0, 3.0, 1.0)), (0.0, 1.0));
        assert!((incomplete_beta(2.5, 2.5, 0.5) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn the_normal_tail_has_its_known_values() {
        for (z, want) in
            [(0.0, 0.5), (1.0, 0.158_655_254), (1.959_963_985, 0.025), (3.0, 0.001_349_898), (6.0, 9.866e-10)]
        {
            let got = normal_tail(z);
            assert!((got / want - 1.0).abs() < 1e-4, "{z}: {got} and {want}");
        }
        assert!((normal_quantile(0.975) - 1.959_963_985).abs() < 1e-6);
        assert!((normal_quantile(0.01) + 2.326_347_874).abs() < 1e-6);
    }

    #[test]
    fn factorials_are_right() {
        let mut factorial = 1.0f64;
        for n in 1..30 {
            factorial *= f64::from(n);
            assert!((ln_gamma(f64::from(n) + 1.0) - factorial.ln()).abs() < 1e-11, "{n}");
        }
    }
}
