//! Element-wise functions of one tensor: Relu, Gelu, Sqrt, Clip, ...

use cpu_kernels::unary::{self as k, NumberOp, UnaryOp};
use graph::DType;

use crate::attrs::Attrs;
use crate::gpu::GpuBuilder;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};

macro_rules! names {
    ($($name:literal $from:literal),* $(,)?) => {
        /// Every function.
        pub(crate) const OPS: &[OpDef] = &[
            $(OpDef { domain: "", name: $name, opsets: ($from, NEWEST), read },)*
            OpDef { domain: "com.microsoft", name: "Gelu", opsets: (1, 1), read: |_| Ok(Box::new(Unary(UnaryOp::Gelu))) },
            OpDef { domain: "com.microsoft", name: "QuickGelu", opsets: (1, 1), read },
            OpDef { domain: crate::registry::INTERNAL, name: "Gelu", opsets: (1, 1), read },
            OpDef { domain: crate::registry::INTERNAL, name: "Silu", opsets: (1, 1), read },
        ];
    };
}
names!(
    "Abs" 6, "Neg" 6, "Sign" 9, "Sqrt" 6, "Reciprocal" 6, "Exp" 6, "Log" 6, "Sin" 7, "Cos" 7, "Tan" 7, "Asin" 7, "Acos" 7,
    "Atan" 7, "Sinh" 9, "Cosh" 9, "Asinh" 9, "Acosh" 9, "Atanh" 9, "Erf" 9, "Tanh" 6, "Sigmoid" 6, "Relu" 6, "Gelu" 20,
    "Softplus" 1, "Softsign" 1, "Floor" 6, "Ceil" 6, "Round" 11, "LeakyRelu" 6, "Elu" 6, "Selu" 6, "Celu" 12,
    "HardSigmoid" 6, "HardSwish" 14, "Mish" 18, "ThresholdedRelu" 10, "Shrink" 9, "Swish" 24,
);

#[derive(Debug)]
struct Unary(UnaryOp);

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    use UnaryOp::*;
    a.ignore("consumed_inputs");
    let alpha = |default: f32| a.float_or("alpha", default);
    Ok(Box::new(Unary(match a.op_type() {
        "Abs" => Abs,
        "Neg" => Neg,
        "Sign" => Sign,
        "Sqrt" => Sqrt,
        "Reciprocal" => Reciprocal,
        "Exp" => Exp,
        "Log" => Log,
        "Sin" => Sin,
        "Cos" => Cos,
        "Tan" => Tan,
        "Asin" => Asin,
        "Acos" => Acos,
        "Atan" => Atan,
        "Sinh" => Sinh,
        "Cosh" => Cosh,
        "Asinh" => Asinh,
        "Acosh" => Acosh,
        "Atanh" => Atanh,
        "Erf" => Erf,
        "Tanh" => Tanh,
        "Sigmoid" => Sigmoid,
        "Relu" => Relu,
        "Gelu" => match a.string_or("approximate", "none")? {
            "none" => Gelu,
            "tanh" => GeluTanh,
            other => return Err(OpError::unsupported(format!("approximate = \"{other}\""))),
        },
        "Silu" => Silu,
        "Swish" | "QuickGelu" => QuickGelu(alpha(if a.op_type() == "Swish" { 1.0 } else { 1.702 })?),
        "Softplus" => Softplus,
        "Softsign" => Softsign,
        "Floor" => Floor,
        "Ceil" => Ceil,
        "Round" => Round,
        "LeakyRelu" => LeakyRelu(alpha(0.01)?),
        "Elu" => Elu(alpha(1.0)?),
        "Selu" => Selu { alpha: alpha(1.673_263_2)?, gamma: a.float_or("gamma", 1.050_701)? },
        "Celu" => Celu(alpha(1.0)?),
        "HardSigmoid" => HardSigmoid { alpha: alpha(0.2)?, beta: a.float_or("beta", 0.5)? },
        "HardSwish" => HardSwish,
        "Mish" => Mish,
        "ThresholdedRelu" => ThresholdedRelu(alpha(1.0)?),
        "Shrink" => Shrink { lambd: a.float_or("lambd", 0.5)?, bias: a.float_or("bias", 0.0)? },
        other => return Err(OpError::unsupported(other)),
    })))
}

impl Unary {
    fn integer<T: cpu_kernels::number::Number + graph::Element>(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let op: NumberOp<T> = match self.0 {
            UnaryOp::Neg => NumberOp::Neg,
            UnaryOp::Abs => NumberOp::Abs,
            UnaryOp::Sign => NumberOp::Sign,
            UnaryOp::Relu => NumberOp::Relu,
            other => return Err(OpError::unsupported(format!("{other:?} of {}", T::DTYPE))),
        };
        let p = cx.split::<T>()?;
        match p.inputs[0] {
            Some(x) => k::unary_number(p.pool, op, x.slice()?, p.out),
            None => k::unary_number_in_place(p.pool, op, p.out),
        }
        Ok(())
    }
}

impl Operator for Unary {
    fn class(&self) -> OpClass {
        OpClass::Elementwise
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        Ok(vec![Fact::new(x.dtype, x.shape.clone().unwrap_or_default())])
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        Cost { flops: outputs[0].numel().unwrap_or(0) as u64 }
    }

    fn in_place(&self) -> &'static [usize] {
        &[0]
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        match cx.out_dtype(0) {
            DType::F32 => {
                let p = cx.split::<f32>()?;
                match p.inputs[0] {
                    Some(x) => k::unary_f32(p.pool, self.0, x.f32()?, p.out),
                    None => k::unary_in_place_f32(p.pool, self.0, p.out),
                }
                Ok(())
            }
            DType::F64 => {
                let p = cx.split::<f64>()?;
                match p.inputs[0] {
                    Some(x) => k::unary_f64(p.pool, self.0, x.slice()?, p.out),
                    None => k::unary_in_place_f64(p.pool, self.0, p.out),
                }
                Ok(())
            }
            DType::I64 => self.integer::<i64>(cx),
            DType::I32 => self.integer::<i32>(cx),
            DType::I16 => self.integer::<i16>(cx),
            DType::I8 => self.integer::<i8>(cx),
            DType::U64 => self.integer::<u64>(cx),
            DType::U32 => self.integer::<u32>(cx),
            DType::U16 => self.integer::<u16>(cx),
            DType::U8 => self.integer::<u8>(cx),
            other => Err(OpError::unsupported(format!("{:?} of {other}", self.0))),
        }
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        crate::ops::elementwise_gpu::unary(b, self.0)
    }
}
