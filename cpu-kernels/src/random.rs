//! Pseudo-random numbers: the Mersenne Twister (MT19937), which ONNX's reference draws from.

const N: usize = 624;
const M: usize = 397;

/// A generator; the same seed gives the same numbers on every machine.
#[derive(Clone, Debug)]
pub struct Random {
    state: Vec<u32>,
    at: usize,
    /// The second of a pair of normal numbers.
    spare: Option<f64>,
}

impl Random {
    /// From a seed.
    pub fn new(seed: u32) -> Random {
        let mut state = vec![seed];
        for i in 1..N {
            let last = state[i - 1];
            state.push(1_812_433_253u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(i as u32));
        }
        Random { state, at: N, spare: None }
    }

    fn twist(&mut self) {
        for i in 0..N {
            let bits = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
            let odd = if bits & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + M) % N] ^ (bits >> 1) ^ odd;
        }
        self.at = 0;
    }

    /// 32 random bits.
    pub fn bits(&mut self) -> u32 {
        if self.at >= N {
            self.twist();
        }
        let mut y = self.state[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// Uniform in [0, 1), with 53 bits.
    pub fn uniform(&mut self) -> f64 {
        let (a, b) = (self.bits() >> 5, self.bits() >> 6);
        (f64::from(a) * 67_108_864.0 + f64::from(b)) / 9_007_199_254_740_992.0
    }

    /// Normal with mean 0 and deviation 1 (Marsaglia's polar method).
    pub fn normal(&mut self) -> f64 {
        if let Some(v) = self.spare.take() {
            return v;
        }
        loop {
            let (a, b) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let r = a * a + b * b;
            if r > 0.0 && r < 1.0 {
                let f = (-2.0 * r.ln() / r).sqrt();
                self.spare = Some(f * a);
                return f * b;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_sequence() {
        // The first output for the seed of the reference implementation, and NumPy's RandomState(0).
        assert_eq!(Random::new(5489).bits(), 3_499_211_612);
        let mut r = Random::new(0);
        let got = [r.uniform(), r.uniform(), r.uniform()];
        for (a, b) in got.iter().zip([0.5488135039273248, 0.7151893663724195, 0.6027633760716439]) {
            assert!((a - b).abs() < 1e-15, "{got:?}");
        }
        let mut r = Random::new(0);
        let got = [r.normal(), r.normal(), r.normal()];
        for (a, b) in got.iter().zip([1.764052345967664, 0.4001572083672233, 0.9787379841057392]) {
            assert!((a - b).abs() < 1e-14, "{got:?}");
        }
    }
}
