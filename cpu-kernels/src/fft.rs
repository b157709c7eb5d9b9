//! Discrete Fourier transforms of any length, in f64: radix 2 for powers of two, Bluestein's convolution for the rest.

use std::f64::consts::PI;

/// A complex number: real part, imaginary part.
pub type Complex = [f64; 2];

fn mul(a: Complex, b: Complex) -> Complex {
    [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]]
}

fn conj(a: Complex) -> Complex {
    [a[0], -a[1]]
}

/// e^(-i pi numerator / denominator).
fn turn(numerator: usize, denominator: usize) -> Complex {
    let (sin, cos) = (-PI * numerator as f64 / denominator as f64).sin_cos();
    [cos, sin]
}

/// What a transform of one length needs, made once.
#[derive(Clone, Debug)]
pub struct Fft {
    len: usize,
    /// The length of the transform inside, a power of two.
    inner: usize,
    /// e^(-2 pi i k / inner) for the first half.
    twiddles: Vec<Complex>,
    /// Bluestein's chirp and the transform of its inverse; empty for powers of two.
    chirp: Vec<Complex>,
    filter: Vec<Complex>,
}

impl Fft {
    /// A transform of `len` numbers; `None` if the tables' size overflows.
    pub fn new(len: usize) -> Option<Fft> {
        let plain = len.is_power_of_two() || len < 2;
        let inner = if plain { len.max(1) } else { len.checked_mul(2)?.checked_next_power_of_two()? };
        let twiddles = (0..inner / 2).map(|k| turn(2 * k, inner)).collect();
        let mut fft = Fft { len, inner, twiddles, chirp: Vec::new(), filter: Vec::new() };
        if !plain {
            // The square of k grows beyond what f64 holds exactly: only its remainder matters.
            let square = |k: usize| ((k as u128 * k as u128) % (2 * len as u128)) as usize;
            fft.chirp = (0..len).map(|k| turn(square(k), len)).collect();
            let mut filter = vec![[0.0; 2]; inner];
            for (k, &c) in fft.chirp.iter().enumerate() {
                filter[k] = conj(c);
                filter[(inner - k) % inner] = conj(c);
            }
            fft.radix2(&mut filter);
            fft.filter = filter;
        }
        Some(fft)
    }

    /// Bytes of the tables and scratch of a transform of `len` numbers, if they fit an address.
    pub fn bytes(len: usize) -> Option<usize> {
        len.checked_mul(4)?.checked_next_power_of_two()?.checked_mul(3 * size_of::<Complex>())
    }

    fn radix2(&self, x: &mut [Complex]) {
        let n = x.len();
        let bits = n.trailing_zeros();
        for i in 1..n {
            let j = i.reverse_bits() >> (usize::BITS - bits);
            if i < j {
                x.swap(i, j);
            }
        }
        let mut half = 1;
        while half < n {
            let step = n / (2 * half);
            for block in x.chunks_exact_mut(2 * half) {
                let (low, high) = block.split_at_mut(half);
                for (k, (a, b)) in low.iter_mut().zip(high).enumerate() {
                    let t = mul(*b, self.twiddles[k * step]);
                    *b = [a[0] - t[0], a[1] - t[1]];
                    *a = [a[0] + t[0], a[1] + t[1]];
                }
            }
            half *= 2;
        }
    }

    /// The transform in place; `x` has the planned length.
    pub fn forward(&self, x: &mut [Complex]) {
        assert_eq!(x.len(), self.len, "a transform of another length");
        if self.len < 2 {
            return;
        }
        if self.chirp.is_empty() {
            return self.radix2(x);
        }
        let mut work = vec![[0.0; 2]; self.inner];
        work.iter_mut().zip(x.iter().zip(&self.chirp)).for_each(|(w, (&x, &c))| *w = mul(x, c));
        self.radix2(&mut work);
        // The inverse is the transform of the conjugates.
        work.iter_mut().zip(&self.filter).for_each(|(w, &f)| *w = conj(mul(*w, f)));
        self.radix2(&mut work);
        let scale = 1.0 / self.inner as f64;
        for (x, (&w, &c)) in x.iter_mut().zip(work.iter().zip(&self.chirp)) {
            *x = mul([w[0] * scale, -w[1] * scale], c);
        }
    }

    /// The inverse in place, divided by the length.
    pub fn inverse(&self, x: &mut [Complex]) {
        x.iter_mut().for_each(|v| *v = conj(*v));
        self.forward(x);
        let scale = 1.0 / self.len.max(1) as f64;
        x.iter_mut().for_each(|v| *v = [v[0] * scale, -v[1] * scale]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_sum_and_back() {
        for n in [1usize, 2, 3, 4, 5, 7, 8, 12, 16, 31, 97, 100, 128, 400, 1000] {
            let x: Vec<Complex> = (0..n).map(|i| [(i as f64 * 1.7).sin(), (i as f64 * 0.3).cos()]).collect();
            let fft = Fft::new(n).unwrap();
            let mut y = x.clone();
            fft.forward(&mut y);
            for k in 0..n {
                let want = (0..n).fold([0.0; 2], |s: Complex, i| {
                    let t = mul(x[i], turn(2 * (i * k % n), n));
                    [s[0] + t[0], s[1] + t[1]]
                });
                let off = (want[0] - y[k][0]).hypot(want[1] - y[k][1]);
                assert!(off < 1e-10 * n as f64, "{n} at {k}: {off}");
            }
            fft.inverse(&mut y);
            assert!(x.iter().zip(&y).all(|(a, b)| (a[0] - b[0]).hypot(a[1] - b[1]) < 1e-12 * n as f64), "{n}");
        }
        assert!(Fft::bytes(usize::MAX / 2).is_none());
    }
}
