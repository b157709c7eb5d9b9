use super::*;
use crate::oracle::Rng;

/// One element as f64, and through i128 where it is an integer: read by hand, a bit pattern at a time.
fn value(kind: Kind, x: &[u8], i: usize) -> (f64, Option<i128>) {
    let bits = kind.bits();
    let raw: u64 = (0..bits).map(|b| u64::from(x[(i * bits + b) / 8] >> ((i * bits + b) % 8) & 1) << b).sum();
    let signed = || {
        let v = i128::from(raw);
        if raw >> (bits - 1) & 1 == 1 { v - (1 << bits) } else { v }
    };
    use Kind::*;
    let whole = |v: i128| (v as f64, Some(v));
    match kind {
        F32 => (f64::from(f32::from_bits(raw as u32)), None),
        F64 => (f64::from_bits(raw), None),
        F16 => (f16::from_bits(raw as u16).to_f64(), None),
        BF16 => (bf16::from_bits(raw as u16).to_f64(), None),
        F4E2M1 => {
            let size = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0][raw as usize & 7];
            (if raw & 8 != 0 { -size } else { size }, None)
        }
        F8E8M0 | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ => {
            (f64::from(kind.float8().map_or_else(|| decode_e8m0(raw as u8), |f| f.decode(raw as u8))), None)
        }
        I8 | I16 | I32 | I64 | I2 | I4 => whole(signed()),
        U8 | U16 | U32 | U64 | U2 | U4 => whole(i128::from(raw)),
        Bool => whole(i128::from(raw != 0)),
    }
}

/// The bounds of an integer kind.
fn bounds(kind: Kind) -> Option<(i128, i128)> {
    use Kind::*;
    match kind {
        I8 | I16 | I32 | I64 | I2 | I4 => Some((-(1i128 << (kind.bits() - 1)), (1i128 << (kind.bits() - 1)) - 1)),
        U8 | U16 | U32 | U64 | U2 | U4 => Some((0, (1 << kind.bits()) - 1)),
        _ => None,
    }
}

#[test]
fn every_pair() {
    let mut rng = Rng::fresh();
    for threads in [1, 3] {
        let pool = Pool::new(threads);
        for n in [0, 1, 7, 1025, 40_003] {
            for from in Kind::ALL {
                let mut x: Vec<u8> = (0..from.bytes_for(n).unwrap()).map(|_| rng.bits() as u8).collect();
                // Half of the floats of ordinary size.
                if from == Kind::F32 {
                    for v in x.chunks_exact_mut(8) {
                        v[..4].copy_from_slice(&(rng.float() * 300.0).to_ne_bytes());
                    }
                }
                for to in Kind::ALL {
                    if n > 2000 && (to.bits() == 64 || from.bits() == 64) {
                        continue;
                    }
                    let mut y = vec![0xAA; to.bytes_for(n).unwrap()];
                    cast(&pool, from, to, true, n, &x, &mut y).unwrap();
                    for i in 0..n {
                        check(from, to, value(from, &x, i), value(to, &y, i));
                    }
                }
            }
        }
    }
}

fn check(from: Kind, to: Kind, (v, whole): (f64, Option<i128>), (have, have_whole): (f64, Option<i128>)) {
    let context = || format!("{from:?} {v} ({whole:?}) to {to:?} gave {have}");
    if from == to {
        assert!(have == v || (have.is_nan() && v.is_nan()), "{}", context());
        return;
    }
    if to == Kind::Bool {
        assert_eq!(have_whole, Some(i128::from(whole.map_or(v != 0.0, |w| w != 0))), "{}", context());
        return;
    }
    if let Some((lo, hi)) = bounds(to) {
        let want = match whole {
            // Integers wrap.
            Some(w) => (w - lo).rem_euclid(hi - lo + 1) + lo,
            None if v.is_nan() => 0,
            None => (v as i128).clamp(lo, hi),
        };
        assert_eq!(have_whole, Some(want), "{}", context());
        return;
    }
    if v.is_nan() {
        assert!(have.is_nan() || to == Kind::F4E2M1, "{}", context());
        return;
    }
    // Floats: half a step of the mantissa, or of the least subnormal number; saturated or infinite beyond the greatest.
    let (mantissa, least, greatest) = match to {
        Kind::F32 => (23, -149, f64::from(f32::MAX)),
        Kind::F64 => (52, -1074, f64::MAX),
        Kind::F16 => (10, -24, 65504.0),
        Kind::BF16 => (7, -133, bf16::MAX.to_f64()),
        Kind::F8E4M3FN => (3, -9, 448.0),
        Kind::F8E4M3FNUZ => (3, -10, 240.0),
        Kind::F8E5M2 => (2, -16, 57344.0),
        Kind::F8E5M2FNUZ => (2, -17, 57344.0),
        Kind::F4E2M1 => (1, -1, 6.0),
        _ => {
            // A power of two, rounded up.
            let exact = have >= v.abs() && have < 2.0 * v.abs();
            assert!(
                exact || (v.abs() <= 2f64.powi(-127) && have == 2f64.powi(-127)) || v.abs() > 2f64.powi(127),
                "{}",
                context()
            );
            return;
        }
    };
    if v.abs() > greatest {
        let near = v.abs() <= greatest * (1.0 + 0.99 * 2f64.powi(-mantissa - 2));
        assert!(have.abs() == greatest || (have.is_infinite() && !near), "{}", context());
        assert!(have.is_sign_negative() == v.is_sign_negative(), "{}", context());
        return;
    }
    let ulp = 2f64.powi((v.abs().log2().floor().max(-2000.0) as i32 - mantissa).max(least));
    let exact = whole.map_or(v, |w| w as f64);
    assert!((have - exact).abs() <= ulp / 2.0 * (1.0 + 1e-9), "{}", context());
}

#[test]
fn eight_bit_floats_by_the_table() {
    // The values of the formats' definitions.
    for (f, code, want) in [
        (Float8::E4M3FN, 0x7E, 448.0),
        (Float8::E4M3FN, 0x01, 0.001953125),
        (Float8::E4M3FN, 0x38, 1.0),
        (Float8::E4M3FNUZ, 0x7F, 240.0),
        (Float8::E4M3FNUZ, 0x40, 1.0),
        (Float8::E5M2, 0x7B, 57344.0),
        (Float8::E5M2, 0x3C, 1.0),
        (Float8::E5M2, 0x01, 1.525_878_9e-5),
        (Float8::E5M2, 0xFC, f32::NEG_INFINITY),
        (Float8::E5M2FNUZ, 0x7F, 57344.0),
        (Float8::E5M2FNUZ, 0xC0, -1.0),
    ] {
        assert_eq!(f.decode(code), want, "{f:?} {code:x}");
        assert_eq!(f.encode(f64::from(want), false), code, "{f:?} {want}");
    }
    for f in [Float8::E4M3FN, Float8::E4M3FNUZ, Float8::E5M2, Float8::E5M2FNUZ] {
        for code in 0..=255u8 {
            let v = f.decode(code);
            assert!(v.is_nan() || f.encode(f64::from(v), false) == code, "{f:?} {code:x} {v}");
        }
        assert!(f.decode(f.encode(1e6, false)).is_nan() || f == Float8::E5M2);
        assert_eq!(f.decode(f.encode(f64::NEG_INFINITY, true)), -f.decode(f.encode(f64::MAX, true)));
        assert!(f.decode(f.encode(f64::NAN, true)).is_nan());
    }
    // Halves go to even, and what rounds down to the greatest is not too large.
    assert_eq!(Float8::E4M3FN.encode(464.0, false), 0x7E);
    assert_eq!(Float8::E4M3FN.encode(464.1, false), 0x7F);
    assert_eq!(Float8::E4M3FN.decode(Float8::E4M3FN.encode(17.0, false)), 16.0);
    assert_eq!(Float8::E4M3FN.decode(Float8::E4M3FN.encode(19.0, false)), 20.0);
    assert_eq!(encode_f4(2.5), 4);
    assert_eq!(encode_f4(-5.0), 14);
    assert_eq!(encode_f4(0.25), 0);
}

#[test]
fn packing_round_trips() {
    let mut rng = Rng::fresh();
    for n in [0usize, 1, 2, 3, 4, 5, 1001] {
        let codes: Vec<u8> = (0..n).map(|_| rng.bits() as u8).collect();
        let (mut four, mut two) = (vec![0xFF; n.div_ceil(2)], vec![0xFF; n.div_ceil(4)]);
        pack4(&codes, &mut four);
        pack2(&codes, &mut two);
        let (mut u, mut i) = (vec![0u8; n], vec![0i8; n]);
        unpack_u4(&four, &mut u);
        unpack_i4(&four, &mut i);
        assert!(
            codes
                .iter()
                .zip(&u)
                .zip(&i)
                .all(|((&c, &u), &i)| u == c & 15 && i as u8 & 15 == c & 15 && (-8..8).contains(&i))
        );
        unpack_u2(&two, &mut u);
        unpack_i2(&two, &mut i);
        assert!(
            codes
                .iter()
                .zip(&u)
                .zip(&i)
                .all(|((&c, &u), &i)| u == c & 3 && i as u8 & 3 == c & 3 && (-2..2).contains(&i))
        );
    }
}

#[test]
fn lengths_are_checked() {
    let pool = Pool::new(1);
    assert!(cast(&pool, Kind::F32, Kind::I4, true, 3, &[0; 12], &mut [0; 1]).is_err());
    assert!(cast(&pool, Kind::F32, Kind::I4, true, 3, &[0; 11], &mut [0; 2]).is_err());
    assert!(cast(&pool, Kind::F32, Kind::I4, true, usize::MAX, &[], &mut []).is_err());
}
