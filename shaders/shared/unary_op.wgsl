// Functions of one number, by the code of `UnaryOp`. The code is a constant, so the driver keeps one branch.
#import numeric

fn unary_op(op: u32, x: f32, a: f32, b: f32) -> f32 {
    switch op {
        case 1u: { return select(x, 0.0, x < 0.0); }
        case 2u: { return select(x, a * x, x < 0.0); }
        case 3u: { return select(x, a * (exp(x) - 1.0), x < 0.0); }
        case 4u: { return b * select(x, a * (exp(x) - 1.0), x <= 0.0); }
        case 5u: { return sigmoid(x); }
        case 6u: { return min(max(a * x + b, 0.0), 1.0); }
        case 7u: { return x * min(max(x / 6.0 + 0.5, 0.0), 1.0); }
        case 8u: { return safe_tanh(x); }
        case 9u: { return 0.5 * x * (1.0 + erf(x * 0.70710678)); }
        case 10u: { return 0.5 * x * (1.0 + safe_tanh(0.79788456 * (x + 0.044715 * x * x * x))); }
        case 11u: { return x * sigmoid(a * x); }
        case 12u: { return softplus(x); }
        case 13u: { return x / (1.0 + abs(x)); }
        case 14u: { return x * safe_tanh(softplus(x)); }
        case 15u: { return max(x, 0.0) + min(a * (exp(x / a) - 1.0), 0.0); }
        case 16u: { return exp(x); }
        case 17u: { return log(x); }
        case 18u: { return sqrt(x); }
        case 19u: { return 1.0 / x; }
        case 20u: { return -x; }
        case 21u: { return abs(x); }
        case 22u: { return select(select(0.0, 1.0, x > 0.0), -1.0, x < 0.0); }
        case 23u: { return floor(x); }
        case 24u: { return ceil(x); }
        case 25u: { return round(x); }
        case 26u: { return erf(x); }
        case 27u: { return sin(x); }
        case 28u: { return cos(x); }
        case 29u: { return tan(x); }
        // Drivers' own are good for three digits.
        case 30u: { return atan2(x, sqrt((1.0 - x) * (1.0 + x))); }
        case 31u: { return atan2(sqrt((1.0 - x) * (1.0 + x)), x); }
        case 32u: { return atan(x); }
        case 33u: { return safe_sinh(x); }
        case 34u: { return 0.5 * (exp(x) + exp(-x)); }
        case 35u: { return select(1.0, -1.0, x < 0.0) * log(abs(x) + sqrt(x * x + 1.0)); }
        case 36u: { return log(x + sqrt(x * x - 1.0)); }
        case 37u: { return 0.5 * log((1.0 + x) / (1.0 - x)); }
        case 38u: { return select(select(x, a, x < a), b, x > b); }
        case 39u: { return a * x + b; }
        case 40u: { return inverseSqrt(x); }
        case 41u: { return x * x; }
        case 42u: { return select(0.0, x, x > a); }
        default: { return x; }
    }
}
