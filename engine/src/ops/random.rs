//! Random numbers: RandomUniform, RandomNormal and their Like forms, Bernoulli, Multinomial.

use std::sync::atomic::{AtomicU32, Ordering};

use cpu_kernels::random::Random;
use graph::DType;

use crate::attrs::Attrs;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::floats;

/// Random numbers.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "RandomUniform", opsets: (1, NEWEST), read: read_drawn },
    OpDef { domain: "", name: "RandomUniformLike", opsets: (1, NEWEST), read: read_drawn },
    OpDef { domain: "", name: "RandomNormal", opsets: (1, NEWEST), read: read_drawn },
    OpDef { domain: "", name: "RandomNormalLike", opsets: (1, NEWEST), read: read_drawn },
    OpDef { domain: "", name: "Bernoulli", opsets: (15, NEWEST), read: read_bernoulli },
    OpDef { domain: "", name: "Multinomial", opsets: (7, NEWEST), read: read_multinomial },
];

/// Where random numbers start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(Option<f32>);

impl Seed {
    /// The attribute `seed`.
    pub fn read(a: &Attrs<'_>) -> Result<Seed, OpError> {
        match a.get("seed") {
            Some(graph::Attr::Int(v)) => Ok(Seed(Some(*v as f32))),
            _ => Ok(Seed(a.float("seed")?)),
        }
    }

    /// A generator: the same in each run if the model names a seed.
    pub fn start(self) -> Random {
        static RUN: AtomicU32 = AtomicU32::new(0);
        Random::new(match self.0 {
            // Whole numbers as they are, others by their bits: each seed is a sequence of its own.
            Some(v) if v.fract() == 0.0 && (0.0..4294967296.0).contains(&v) => v as u32,
            Some(v) => v.to_bits(),
            None => {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                let now = now.map_or(0, |d| d.as_nanos() as u64);
                let run = RUN.fetch_add(0x9e37_79b9, Ordering::Relaxed);
                (now ^ (now >> 32)) as u32 ^ run
            }
        })
    }
}

/// The attribute `dtype`.
fn dtype(a: &Attrs<'_>) -> Result<Option<DType>, OpError> {
    let Some(code) = a.int("dtype")? else { return Ok(None) };
    let found = i32::try_from(code).ok().and_then(DType::from_onnx).filter(|d| d.bits().is_some());
    found.map(Some).ok_or_else(|| OpError::invalid(format!("dtype = {code}")))
}

#[derive(Debug)]
struct Drawn {
    /// Uniform from `a` to `b`, else normal with mean `a` and deviation `b`.
    uniform: bool,
    a: f64,
    b: f64,
    seed: Seed,
    dtype: Option<DType>,
    /// `None`: as input 0.
    shape: Option<Vec<usize>>,
}

fn read_drawn(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let like = a.op_type().ends_with("Like");
    let uniform = a.op_type().starts_with("RandomUniform");
    let (first, second, low, high) = if uniform { ("low", "high", 0.0, 1.0) } else { ("mean", "scale", 0.0, 1.0) };
    let shape = if like {
        None
    } else {
        let shape = a.ints("shape")?.ok_or_else(|| OpError::invalid("attribute shape is missing"))?;
        Some(floats::sizes(shape, "a size")?)
    };
    let dtype = dtype(a)?.or(if like { None } else { Some(DType::F32) });
    let (from, to) = (a.float_or(first, low)?, a.float_or(second, high)?);
    Ok(Box::new(Drawn { uniform, a: f64::from(from), b: f64::from(to), seed: Seed::read(a)?, dtype, shape }))
}

impl Operator for Drawn {
    fn class(&self) -> OpClass {
        OpClass::Other
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let shape = match &self.shape {
            Some(s) => s.clone(),
            None => inputs.shape(0)?.unwrap_or(&[]).to_vec(),
        };
        Ok(vec![Fact::new(self.dtypes(inputs)?[0], shape)])
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![self.dtype.map_or_else(|| inputs.need(0).map(|f| f.dtype), Ok)?])
    }

    fn is_pure(&self) -> bool {
        false
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let n: usize = cx.out_shape(0).iter().product();
        cx.check_bytes(n.checked_mul(8))?;
        let mut random = self.seed.start();
        let draw = |_| match self.uniform {
            true => self.a + (self.b - self.a) * random.uniform(),
            false => self.a + self.b * random.normal(),
        };
        let out: Vec<f64> = (0..n).map(draw).collect();
        floats::write(cx, 0, &out)
    }

    fn kernel(&self) -> String {
        "random".into()
    }
}

#[derive(Debug)]
struct Bernoulli {
    seed: Seed,
    dtype: Option<DType>,
}

fn read_bernoulli(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Bernoulli { seed: Seed::read(a)?, dtype: dtype(a)? }))
}

impl Operator for Bernoulli {
    fn class(&self) -> OpClass {
        OpClass::Other
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        floats::expect_float(inputs, 0)?;
        Ok(vec![Fact::new(self.dtypes(inputs)?[0], inputs.shape(0)?.unwrap_or(&[]).to_vec())])
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![self.dtype.map_or_else(|| inputs.need(0).map(|f| f.dtype), Ok)?])
    }

    fn is_pure(&self) -> bool {
        false
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let p = floats::read(cx, 0)?;
        if let Some(bad) = p.iter().find(|p| !(0.0..=1.0).contains(*p)) {
            return Err(OpError::invalid(format!("a probability of {bad}")));
        }
        let mut random = self.seed.start();
        // 1 with probability p: the upper end of the numbers for a rare 1, the lower for a rare 0.
        let draw = |p: f64| {
            let u = random.uniform();
            f64::from(u8::from(if p <= 0.5 { u > 1.0 - p } else { u <= p }))
        };
        let out: Vec<f64> = p.into_iter().map(draw).collect();
        floats::write(cx, 0, &out)
    }

    fn kernel(&self) -> String {
        "random".into()
    }
}

#[derive(Debug)]
struct Multinomial {
    seed: Seed,
    samples: usize,
    dtype: DType,
}

fn read_multinomial(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let samples = a.int_or("sample_size", 1)?;
    let dtype = dtype(a)?.unwrap_or(DType::I32);
    if !matches!(dtype, DType::I32 | DType::I64) {
        return Err(OpError::invalid(format!("indices as {dtype}")));
    }
    Ok(Box::new(Multinomial { seed: Seed::read(a)?, samples: floats::sizes(&[samples], "sample_size")?[0], dtype }))
}

impl Operator for Multinomial {
    fn class(&self) -> OpClass {
        OpClass::Other
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        floats::expect_float(inputs, 0)?;
        match inputs.shape(0)?.unwrap_or(&[]) {
            &[n, classes] if classes > 0 => Ok(vec![Fact::new(self.dtype, vec![n, self.samples])]),
            other => Err(OpError::invalid(format!("an input of {other:?}, not of rows of classes"))),
        }
    }

    fn dtypes(&self, _: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![self.dtype])
    }

    fn is_pure(&self) -> bool {
        false
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let classes = cx.input(0)?.shape[1];
        let x = floats::read(cx, 0)?;
        let mut random = self.seed.start();
        let mut out = Vec::with_capacity(cx.out_shape(0).iter().product());
        for row in x.chunks_exact(classes) {
            // The rows are logarithms, up to a constant.
            let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let mut sum = 0.0;
            let ends: Vec<f64> = row
                .iter()
                .map(|v| {
                    sum += (v - top).exp();
                    sum
                })
                .collect();
            if !sum.is_finite() || sum <= 0.0 {
                return Err(OpError::invalid("a row has no probabilities"));
            }
            for _ in 0..self.samples {
                let u = random.uniform() * sum;
                out.push(ends.partition_point(|&e| e <= u).min(classes - 1) as f64);
            }
        }
        floats::write(cx, 0, &out)
    }

    fn kernel(&self) -> String {
        "random".into()
    }
}
