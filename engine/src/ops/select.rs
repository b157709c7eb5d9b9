//! Where, comparisons, logic on bools, IsNaN, IsInf, BitwiseNot.

use cpu_kernels::broadcast::Broadcast;
use cpu_kernels::number::Number;
use cpu_kernels::select::{self as k, CompareOp, LogicOp};
use cpu_kernels::unary::{NumberOp, unary_number, unary_number_in_place};
use graph::DType;

use gpu_kernels::kernels::binary::BinaryOp as GpuOp;
use gpu_kernels::kernels::select::select;
use gpu_kernels::kernels::unary::{UnaryOp, unary};

use crate::attrs::Attrs;
use crate::gpu::GpuBuilder;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::elementwise_gpu;
use crate::ops::movement_gpu::{shape32, u32_of};
use crate::ops::strings::spread;
use crate::ops::typed::by_number;
use crate::ops::util;

macro_rules! compare {
    ($($name:literal $op:ident $from:literal),*) => {
        /// Selection, comparison and logic.
        pub(crate) const OPS: &[OpDef] = &[
            OpDef { domain: "", name: "Where", opsets: (9, NEWEST), read: |_| Ok(Box::new(Where)) },
            OpDef { domain: "", name: "And", opsets: (7, NEWEST), read: |_| Ok(Box::new(Pair::Logic(LogicOp::And))) },
            OpDef { domain: "", name: "Or", opsets: (7, NEWEST), read: |_| Ok(Box::new(Pair::Logic(LogicOp::Or))) },
            OpDef { domain: "", name: "Xor", opsets: (7, NEWEST), read: |_| Ok(Box::new(Pair::Logic(LogicOp::Xor))) },
            OpDef { domain: "", name: "Not", opsets: (1, NEWEST), read: |_| Ok(Box::new(Test::Not)) },
            OpDef { domain: "", name: "IsNaN", opsets: (9, NEWEST), read: |_| Ok(Box::new(Test::IsNaN)) },
            OpDef { domain: "", name: "IsInf", opsets: (10, NEWEST), read: read_is_inf },
            OpDef { domain: "", name: "BitwiseNot", opsets: (18, NEWEST), read: |_| Ok(Box::new(BitwiseNot)) },
            $(OpDef {
                domain: "",
                name: $name,
                opsets: ($from, NEWEST),
                read: |_| Ok(Box::new(Pair::Compare(CompareOp::$op))),
            }),*
        ];
    };
}
compare!("Equal" Equal 7, "Less" Less 7, "LessOrEqual" LessOrEqual 12, "Greater" Greater 7,
    "GreaterOrEqual" GreaterOrEqual 12);

fn no_broadcast(shapes: &[&[usize]]) -> OpError {
    OpError::invalid(format!("shapes {shapes:?} don't broadcast"))
}

#[derive(Debug)]
struct Where;

impl Operator for Where {
    fn class(&self) -> OpClass {
        OpClass::Elementwise
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let (c, a, b) = (inputs.need(0)?, inputs.need(1)?, inputs.need(2)?);
        if c.dtype != DType::Bool || a.dtype != b.dtype {
            let why =
                format!("a condition of {} on {} and {}: it must be bool on equal types", c.dtype, a.dtype, b.dtype);
            return Err(OpError::invalid(why));
        }
        let shapes = [0, 1, 2].map(|i| inputs.0[i].as_ref().and_then(|f| f.shape.as_deref()).unwrap_or(&[]));
        Ok(vec![Fact::new(a.dtype, util::broadcast(&shapes)?)])
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![inputs.need(1)?.dtype])
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        Cost { flops: outputs[0].numel().unwrap_or(0) as u64 }
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (c, a, b) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
        let shapes = [c.shape, a.shape, b.shape];
        let plan = Broadcast::of(shapes).ok_or_else(|| no_broadcast(&shapes))?;
        let (elem, pool) = (util::elem_bytes(a.dtype)?, cx.pool());
        k::where_(pool, elem, &plan, c.data, a.data, b.data, cx.out_bytes(0)?)?;
        Ok(())
    }

    fn kernel(&self) -> String {
        "select".into()
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let (c, x, y) = (b.input(0)?, b.input(1)?, b.input(2)?);
        let out = b.output(0)?;
        let gpu = b.gpu();
        let shape = |t: &crate::gpu::GpuTensor| shape32(&t.shape);
        let (sc, sx, sy, so) = (shape(&c)?, shape(&x)?, shape(&y)?, shape(&out)?);
        let operands = [(&c.binding, &sc[..]), (&x.binding, &sx[..]), (&y.binding, &sy[..]), (&out.binding, &so[..])];
        b.push(select(&gpu, operands[0], operands[1], operands[2], operands[3]))?;
        Ok(true)
    }
}

/// Two operands, a bool for each pair.
#[derive(Debug)]
enum Pair {
    Compare(CompareOp),
    Logic(LogicOp),
}

impl Operator for Pair {
    fn class(&self) -> OpClass {
        OpClass::Elementwise
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let (a, b) = (inputs.need(0)?.dtype, inputs.need(1)?.dtype);
        if a != b || (matches!(self, Pair::Logic(_)) && a != DType::Bool) {
            return Err(OpError::invalid(format!("{self:?} of {a} and {b}")));
        }
        let shape = util::broadcast(&[inputs.shape(0)?.unwrap_or(&[]), inputs.shape(1)?.unwrap_or(&[])])?;
        Ok(vec![Fact::new(DType::Bool, shape)])
    }

    fn dtypes(&self, _: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![DType::Bool])
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        Cost { flops: outputs[0].numel().unwrap_or(0) as u64 }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (a, b, pool) = (cx.input(0)?, cx.input(1)?, cx.pool());
        if let (Pair::Compare(CompareOp::Equal), DType::String) = (self, a.dtype) {
            let (x, y, to) = (cx.strings(0)?, cx.strings(1)?, cx.out_shape(0));
            let pairs = spread(a.shape, &to).into_iter().zip(spread(b.shape, &to));
            cx.out_bytes(0)?.iter_mut().zip(pairs).for_each(|(e, (i, j))| *e = u8::from(x[i] == y[j]));
            return Ok(());
        }
        let plan = Broadcast::new(a.shape, b.shape).ok_or_else(|| no_broadcast(&[a.shape, b.shape]))?;
        let y = cx.out_bytes(0)?;
        match self {
            Pair::Logic(op) => k::logic(pool, *op, &plan, a.data, b.data, y)?,
            Pair::Compare(CompareOp::Equal) if a.dtype == DType::Bool => {
                k::logic(pool, LogicOp::Xor, &plan, a.data, b.data, y)?;
                y.iter_mut().for_each(|v| *v ^= 1);
            }
            Pair::Compare(op) => by_number!(a.dtype, format!("{op:?}"), T => {
                k::compare::<T>(pool, *op, &plan, a.slice()?, b.slice()?, y).map_err(OpError::from)
            })?,
        }
        Ok(())
    }

    fn kernel(&self) -> String {
        "compare".into()
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let op = match self {
            Pair::Compare(CompareOp::Equal) => GpuOp::Equal,
            Pair::Compare(CompareOp::Less) => GpuOp::Less,
            Pair::Compare(CompareOp::LessOrEqual) => GpuOp::LessOrEqual,
            Pair::Compare(CompareOp::Greater) => GpuOp::Greater,
            Pair::Compare(CompareOp::GreaterOrEqual) => GpuOp::GreaterOrEqual,
            Pair::Logic(LogicOp::And) => GpuOp::BitAnd,
            Pair::Logic(LogicOp::Or) => GpuOp::BitOr,
            Pair::Logic(LogicOp::Xor) => GpuOp::BitXor,
        };
        elementwise_gpu::binary(b, op)
    }
}

/// One operand, a bool for each element.
#[derive(Debug)]
enum Test {
    Not,
    IsNaN,
    IsInf { positive: bool, negative: bool },
}

fn read_is_inf(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Test::IsInf { positive: a.flag("detect_positive", true)?, negative: a.flag("detect_negative", true)? }))
}

impl Operator for Test {
    fn class(&self) -> OpClass {
        OpClass::Elementwise
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let fits = match self {
            Test::Not => x.dtype == DType::Bool,
            _ => x.dtype.is_float(),
        };
        if !fits {
            return Err(OpError::invalid(format!("{self:?} of {}", x.dtype)));
        }
        Ok(vec![Fact::new(DType::Bool, x.shape.clone().unwrap_or_default())])
    }

    fn dtypes(&self, _: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![DType::Bool])
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        Cost { flops: outputs[0].numel().unwrap_or(0) as u64 }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        fn infinite<T: Number>(x: &[T], positive: bool, negative: bool, y: &mut [u8]) {
            for (y, x) in y.iter_mut().zip(x) {
                let x = x.to_f64();
                *y = u8::from((positive && x == f64::INFINITY) || (negative && x == f64::NEG_INFINITY));
            }
        }
        let x = cx.input(0)?;
        let y = cx.out_bytes(0)?;
        match (self, x.dtype) {
            (Test::Not, _) => k::not(x.data, y),
            (Test::IsNaN, DType::F64) => k::is_nan(x.slice::<f64>()?, y),
            (Test::IsNaN, _) => k::is_nan(x.f32()?, y),
            (Test::IsInf { positive, negative }, DType::F64) => infinite(x.slice::<f64>()?, *positive, *negative, y),
            (Test::IsInf { positive, negative }, _) => infinite(x.f32()?, *positive, *negative, y),
        }
        Ok(())
    }

    fn kernel(&self) -> String {
        "test".into()
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let (op, p, q) = match self {
            Test::Not => (UnaryOp::Not, 0.0, 0.0),
            Test::IsNaN => (UnaryOp::IsNan, 0.0, 0.0),
            Test::IsInf { positive, negative } => {
                (UnaryOp::IsInf, f32::from(u8::from(*positive)), f32::from(u8::from(*negative)))
            }
        };
        let (x, y) = (b.input(0)?, b.output(0)?);
        let gpu = b.gpu();
        b.push(unary(&gpu, op, p, q, &x.binding, &y.binding, u32_of(x.len())?))?;
        Ok(true)
    }
}

#[derive(Debug)]
struct BitwiseNot;

impl Operator for BitwiseNot {
    fn class(&self) -> OpClass {
        OpClass::Elementwise
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        if x.dtype.is_float() {
            return Err(OpError::invalid(format!("BitwiseNot of {}", x.dtype)));
        }
        Ok(vec![Fact::new(x.dtype, x.shape.clone().unwrap_or_default())])
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        Cost { flops: outputs[0].numel().unwrap_or(0) as u64 }
    }

    fn in_place(&self) -> &'static [usize] {
        &[0]
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        by_number!(cx.out_dtype(0), "BitwiseNot", T => {
            let p = cx.split::<T>()?;
            match p.inputs[0] {
                Some(x) => unary_number(p.pool, NumberOp::BitNot, x.slice()?, p.out),
                None => unary_number_in_place(p.pool, NumberOp::BitNot, p.out),
            }
            Ok(())
        })
    }

    fn kernel(&self) -> String {
        "unary".into()
    }
}
