// Functions that stay right where WGSL's own may not: large arguments, negative bases, NaN.

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

fn is_inf(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) == 0x7f800000u;
}

// exp(-2|x|) never overflows; near zero the quotient would lose its digits, so a series takes over.
fn safe_tanh(x: f32) -> f32 {
    let a = abs(x);
    if a < 0.2 {
        let s = x * x;
        return x * (1.0 + s * (-0.33333333 + s * (0.13333333 + s * (-0.053968254 + s * 0.021869488))));
    }
    let e = exp(-2.0 * a);
    let t = (1.0 - e) / (1.0 + e);
    return select(t, -t, x < 0.0);
}

fn safe_sinh(x: f32) -> f32 {
    if abs(x) < 0.5 {
        let s = x * x;
        return x * (1.0 + s * (0.16666667 + s * (0.0083333333 + s * 0.0001984127)));
    }
    return 0.5 * (exp(x) - exp(-x));
}

// Abramowitz and Stegun 7.1.26 (1.5e-7 absolute); its Taylor series below one half, where that would be a large relative error.
fn erf(x: f32) -> f32 {
    let a = abs(x);
    if a < 0.5 {
        let s = x * x;
        return x * 1.1283792 * (1.0 + s * (-0.33333333 + s * (0.1 + s * (-0.023809524 + s * (0.0046296296 - s * 0.00075757576)))));
    }
    let t = 1.0 / (1.0 + 0.3275911 * a);
    let p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    let r = 1.0 - p * exp(-a * a);
    return select(r, -r, x < 0.0);
}

fn sigmoid(x: f32) -> f32 {
    let e = exp(-abs(x));
    let s = 1.0 / (1.0 + e);
    return select(s, e * s, x < 0.0);
}

fn softplus(x: f32) -> f32 {
    return max(x, 0.0) + log(1.0 + exp(-abs(x)));
}

// C's pow: a negative base has a power where the exponent is a whole number.
fn safe_pow(a: f32, b: f32) -> f32 {
    if b == 2.0 {
        return a * a;
    }
    if b == 0.0 || a == 1.0 {
        return 1.0;
    }
    if b == 1.0 {
        return a;
    }
    let p = pow(abs(a), b);
    if a >= 0.0 || is_nan(a) {
        return select(p, a, is_nan(a));
    }
    if floor(b) != b {
        return bitcast<f32>(0x7fc00000u | (bitcast<u32>(b) & 1u));
    }
    let odd = abs(b) < 16777216.0 && (i32(b) & 1) != 0;
    return select(p, -p, odd);
}
