//! The matrix product, with what often follows it.

use crate::kernels::tiles::Class;
use crate::kernels::unary::Activation;
use crate::kernels::{Kernel, count, gather::gcd, gemv, gemv_subgroups, matmul_f16, need};
use crate::pipeline::{Call, Groups};
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("matmul");

/// How the right operand is stored.
#[derive(Debug, Clone, Copy)]
pub enum Weights<'a> {
    /// f32.
    F32(&'a Binding),
    /// Two f16 per word.
    F16(&'a Binding),
    /// Four signed bytes per word, and an f32 scale per output column.
    I8 {
        /// The bytes.
        values: &'a Binding,
        /// \[n\]
        scale: &'a Binding,
    },
    /// Eight nibbles per word, each of them times a scale plus a shift of its group along k; only with `trans_b`. Columns
    /// begin at whole groups.
    I4 {
        /// The nibbles.
        values: &'a Binding,
        /// \[n, groups of a column, 2\]: scale and shift.
        scales: &'a Binding,
        /// Elements of a group: a multiple of four.
        group: u32,
    },
}

impl<'a> Weights<'a> {
    fn parts(&self) -> (&'a Binding, u8, u64, Option<&'a Binding>) {
        match *self {
            Weights::F32(b) => (b, 0, 32, None),
            Weights::F16(b) => (b, 1, 16, None),
            Weights::I8 { values, scale } => (values, 2, 8, Some(scale)),
            Weights::I4 { values, scales, .. } => (values, 3, 4, Some(scales)),
        }
    }

    fn group(&self) -> u32 {
        if let Weights::I4 { group, .. } = *self { group } else { 1 }
    }

    /// Elements from one column to the next where they are stored by columns.
    fn line(&self, k: u32) -> Result<u32, GpuError> {
        let whole = k.checked_next_multiple_of(self.group().max(1));
        whole.ok_or_else(|| GpuError::argument("matmul", "its columns overflow"))
    }
}

/// A matrix product: y = act(alpha * a x b \[* scale\] + bias) + residual.
#[derive(Debug, Clone, Copy)]
pub struct MatMul<'a> {
    /// \[m, k\] per batch.
    pub a: &'a Binding,
    /// \[k, n\] per batch, or \[n, k\] with `trans_b`.
    pub b: Weights<'a>,
    /// The right operand is stored by columns.
    pub trans_b: bool,
    /// \[batch..., m, n\], dense.
    pub y: &'a Binding,
    /// Rows.
    pub m: u32,
    /// What is summed over.
    pub k: u32,
    /// Columns.
    pub n: u32,
    /// Up to three batch dimensions.
    pub batch: [u32; 3],
    /// Elements of `a` from one batch to the next, per batch dimension; 0 broadcasts.
    pub a_strides: [u32; 3],
    /// The same for `b`.
    pub b_strides: [u32; 3],
    /// A factor.
    pub alpha: f32,
    /// \[n\]
    pub bias: Option<&'a Binding>,
    /// y's shape; added last.
    pub residual: Option<&'a Binding>,
    /// Applied before the residual is added.
    pub activation: Activation,
}

impl<'a> MatMul<'a> {
    /// One product of \[m, k\] and \[k, n\] with nothing after it; change the fields for more.
    pub fn new(a: &'a Binding, b: Weights<'a>, y: &'a Binding, [m, k, n]: [u32; 3]) -> Self {
        MatMul {
            a,
            b,
            trans_b: false,
            y,
            m,
            k,
            n,
            batch: [1; 3],
            a_strides: [0; 3],
            b_strides: [0; 3],
            alpha: 1.0,
            bias: None,
            residual: None,
            activation: Activation::NONE,
        }
    }

    fn reach(&self, strides: [u32; 3], matrix: u32) -> Result<u32, GpuError> {
        let last =
            self.batch.iter().zip(strides).try_fold(0u32, |sum, (&n, s)| sum.checked_add((n - 1).checked_mul(s)?));
        last.and_then(|l| l.checked_add(matrix)).ok_or_else(|| GpuError::argument("matmul", "its strides overflow"))
    }

    /// Checks every operand; `false` where the result has no elements.
    fn check(&self) -> Result<bool, GpuError> {
        self.activation.check("matmul")?;
        let total = count("matmul", &[self.batch[0], self.batch[1], self.batch[2], self.m, self.n])?;
        need("matmul", "y", self.y, total)?;
        if total == 0 {
            return Ok(false);
        }
        need("matmul", "a", self.a, self.reach(self.a_strides, count("matmul", &[self.m, self.k])?)?)?;
        let (b, _, bits, scale) = self.b.parts();
        let line = self.b.line(self.k)?;
        let elements = self.reach(self.b_strides, count("matmul", &[line, self.n])?)?;
        need("matmul", "b", b, (u64::from(elements) * bits).div_ceil(32) as u32)?;
        let mut scales = self.n;
        if let Weights::I4 { group, .. } = self.b {
            if !self.trans_b || group == 0 || !group.is_multiple_of(4) {
                return Err(GpuError::argument("matmul", format!("int4 weights by rows or in groups of {group}")));
            }
            scales = count("matmul", &[self.n, self.k.div_ceil(group), 2])?;
        }
        for (name, binding, n) in
            [("scale", scale, scales), ("bias", self.bias, self.n), ("residual", self.residual, total)]
        {
            binding.map_or(Ok(()), |b| need("matmul", name, b, n))?;
        }
        Ok(true)
    }

    fn is_aligned(&self) -> bool {
        let line = if self.trans_b { self.k.next_multiple_of(self.b.group()) } else { self.n };
        let steps = [&self.a_strides[..], &self.b_strides[..], &[self.k, line]].concat();
        steps.iter().all(|s| s.is_multiple_of(4))
    }

    /// One dispatch over some of the columns and batches.
    fn part(&self, gpu: &Gpu, b: &Binding, cols: (u32, u32), batches: (u32, u32)) -> Result<Command, GpuError> {
        let (_, kind, _, scale) = self.b.parts();
        let few_rows = self.m <= 4;
        let (call, across, down): (Call<'_>, u32, u32) = match (few_rows, self.trans_b, gpu.largest_subgroup()) {
            (true, true, Some(size)) => {
                let columns = (256 / size.max(1)).max(1);
                let across = cols.1.div_ceil(columns).min(gpu.limits().max_compute_workgroups_per_dimension);
                (gpu.call(&gemv_subgroups::KERNEL), across, 1)
            }
            (true, true, None) => (gpu.call(&gemv::KERNEL).entry("lines"), cols.1.div_ceil(8), 1),
            (true, false, _) => (gpu.call(&gemv::KERNEL).entry("columns"), cols.1.div_ceil(32), 1),
            (false, ..) => {
                let tile = gpu.tiles().of(Class::of(self.m, cols.1, batches.1));
                let [a_size, b_size] = tile.shared(self.trans_b);
                let f16 = gpu.tier().f16 && matches!(self.b, Weights::F16(_));
                let kernel = if f16 { &matmul_f16::KERNEL } else { &KERNEL };
                let call = gpu.call(kernel).entry(tile.entry).constant("TX", tile.threads[0]);
                let call = call.constant("TY", tile.threads[1]).constant("KQ", tile.quads);
                let call = call.constant("A_SIZE", a_size).constant("B_SIZE", b_size);
                (call, cols.1.div_ceil(tile.cols()), self.m.div_ceil(tile.rows()))
            }
        };
        let call = if few_rows { call.constant("ONE_ROW", u8::from(self.m == 1)) } else { call };
        call.constant("TRANS_B", u8::from(self.trans_b))
            .constant("B_KIND", kind)
            .constant("ALIGNED", u8::from(self.is_aligned()))
            .constant("ACT", self.activation.op as u8)
            .bind("a", self.a)
            .bind("a4", self.a)
            .bind("b", b)
            .bind("b4", b)
            .bind_optional("scale", "HAS_SCALE", scale)
            .bind_optional("bias", "HAS_BIAS", self.bias)
            .bind_optional("residual", "HAS_RESIDUAL", self.residual)
            .bind("y", self.y)
            .param("m", self.m)
            .param("n", cols.1)
            .param("k", self.k)
            .param("batch_1", self.batch[1])
            .param("batch_2", self.batch[2])
            .param("first_batch", batches.0)
            .param("a_0", self.a_strides[0])
            .param("a_1", self.a_strides[1])
            .param("a_2", self.a_strides[2])
            .param("b_0", self.b_strides[0])
            .param("b_1", self.b_strides[1])
            .param("b_2", self.b_strides[2])
            .param("first_col", cols.0)
            .param("ldb", self.b.line(self.k)?)
            .param("group", self.b.group())
            .param("ldy", self.n)
            .param("alpha", self.alpha)
            .param("act_a", self.activation.a)
            .param("act_b", self.activation.b)
            .run(Groups::Grid([across.into(), down.into(), batches.1.into()]))
    }
}

/// The product as a command. Weights stored by columns that are larger than one binding are read in parts.
pub fn matmul(gpu: &Gpu, op: &MatMul<'_>) -> Result<Command, GpuError> {
    if !op.check()? {
        return Ok(Command::nothing("matmul"));
    }
    let (b, _, bits, _) = op.b.parts();
    let batches: u32 = op.batch.iter().product();
    let at_once = gpu.limits().max_compute_workgroups_per_dimension;
    let limit = gpu.max_binding_bytes() - gpu.max_binding_bytes() % gpu.alignment();
    let mut parts = Vec::new();
    if b.bytes > limit && batches == 1 && op.trans_b && op.k > 0 {
        let line = u64::from(op.b.line(op.k)?) * bits;
        let unit = gpu.alignment() * 8 / gcd(gpu.alignment() * 8, line);
        let lines = (limit * 8 / line / unit * unit).min(op.n.into()) as u32;
        let mut first = 0;
        while lines > 0 && first < op.n {
            let held = lines.min(op.n - first);
            let bytes = (u64::from(held) * line).div_ceil(32) * 4;
            let slice = b.buffer.part(b.offset + u64::from(first) * line / 8, bytes);
            parts.push(op.part(gpu, &slice, (first, held), (0, 1))?);
            first += held;
        }
    }
    if parts.is_empty() {
        let mut first = 0;
        while first < batches {
            let held = at_once.min(batches - first);
            parts.push(op.part(gpu, b, (0, op.n), (first, held))?);
            first += held;
        }
    }
    Ok(Command::sequence("matmul", parts))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::kernels::Elem;
    use crate::kernels::tiles::{TABLE, Tiles};
    use crate::kernels::unary::UnaryOp;
    use crate::twin::Bench;

    /// The sizes and options of one case.
    pub(crate) struct Spec {
        pub(crate) mkn: [usize; 3],
        pub(crate) trans_b: bool,
        pub(crate) kind: u8,
        pub(crate) epilogue: bool,
        pub(crate) batch: [usize; 3],
    }

    /// Right operand in each storage: the values the oracle sees, the packed bytes, and scales per column.
    fn weights(
        bench: &mut Bench,
        n: usize,
        cols: usize,
        group: usize,
        kind: u8,
    ) -> (Vec<f64>, Binding, Vec<f64>, Binding) {
        let (scales, scale) = bench.floats_in(cols, 0.01, 0.1);
        match kind {
            0 => {
                let (v, b) = bench.floats(n);
                (v, b, scales, scale)
            }
            1 => {
                let halves: Vec<half::f16> = (0..n).map(|_| half::f16::from_f32(bench.rng.float(-2.0, 2.0))).collect();
                let mut bits: Vec<u16> = halves.iter().map(|h| h.to_bits()).collect();
                bits.resize(n.next_multiple_of(2), 0);
                (halves.iter().map(|h| h.to_f64()).collect(), bench.words(bytemuck::cast_slice(&bits)), scales, scale)
            }
            3 => {
                // Columns begin at whole groups.
                let (k, line) = (n / cols, (n / cols).next_multiple_of(group));
                let nibbles: Vec<i32> = (0..(cols * line).next_multiple_of(8)).map(|_| bench.rng.int(0, 15)).collect();
                let words: Vec<u32> =
                    nibbles.chunks(8).map(|c| c.iter().rev().fold(0, |w, &q| w << 4 | q as u32)).collect();
                let (pairs, pairs_b) = bench.floats(cols * line / group * 2);
                let at = |i: usize| {
                    let i = i / k * line + i % k;
                    f64::from(nibbles[i]) * pairs[i / group * 2] + pairs[i / group * 2 + 1]
                };
                ((0..n).map(at).collect(), bench.words(&words), scales, pairs_b)
            }
            _ => {
                let bytes: Vec<i8> = (0..n.next_multiple_of(4)).map(|_| bench.rng.int(-127, 127) as i8).collect();
                let v = bytes[..n].iter().map(|&b| f64::from(b)).collect();
                (v, bench.words(bytemuck::cast_slice(&bytes)), scales, scale)
            }
        }
    }

    pub(crate) fn case(bench: &mut Bench, spec: &Spec) -> Result<(), GpuError> {
        case_on(bench, bench.gpu, spec)
    }

    fn case_on(bench: &mut Bench, gpu: &Gpu, spec: &Spec) -> Result<(), GpuError> {
        let [m, k, n] = spec.mkn;
        let [b0, b1, b2] = spec.batch;
        let group = if k % 3 == 0 { 12 } else { 32 };
        // The middle batch dimension of b is broadcast.
        let (a, ab) = bench.floats(b0 * b1 * b2 * m * k);
        let (b, bb, scales, sb) = weights(bench, b0 * b2 * k * n, n, group, spec.kind);
        let (bias, bias_b) = bench.floats(n);
        let batches = b0 * b1 * b2;
        let (residual, rb) = bench.floats(batches * m * n);
        let yb = bench.out(batches * m * n);
        let weights = match spec.kind {
            0 => Weights::F32(&bb),
            1 => Weights::F16(&bb),
            3 => Weights::I4 { values: &bb, scales: &sb, group: group as u32 },
            _ => Weights::I8 { values: &bb, scale: &sb },
        };
        let mut op = MatMul::new(&ab, weights, &yb, [m as u32, k as u32, n as u32]);
        op.trans_b = spec.trans_b;
        op.batch = spec.batch.map(|d| d as u32);
        op.a_strides = [b1 * b2 * m * k, b2 * m * k, m * k].map(|s| s as u32);
        op.b_strides = [b2 * k * n, 0, k * n].map(|s| s as u32);
        if spec.epilogue {
            op.alpha = 0.5;
            op.bias = Some(&bias_b);
            op.residual = Some(&rb);
            op.activation = Activation { op: UnaryOp::LeakyRelu, a: 0.25, b: 0.0 };
        }
        let command = matmul(gpu, &op)?;
        let mut want = Vec::with_capacity(batches * m * n);
        for z in 0..batches {
            let (a0, bz) = (z * m * k, (z / (b1 * b2) * b2 + z % b2) * k * n);
            for i in 0..m {
                for j in 0..n {
                    let at = |p: usize| if spec.trans_b { bz + j * k + p } else { bz + p * n + j };
                    let mut v: f64 = (0..k).map(|p| a[a0 + i * k + p] * b[at(p)]).sum();
                    v *= if spec.kind == 2 { scales[j] } else { 1.0 };
                    if spec.epilogue {
                        v = 0.5 * v + bias[j];
                        v = if v < 0.0 { 0.25 * v } else { v } + residual[want.len()];
                    }
                    want.push(v);
                }
            }
        }
        let Spec { trans_b, kind, .. } = spec;
        bench.check(
            format!("{m}x{k}x{n} batch {:?} trans {trans_b} kind {kind}", spec.batch),
            command,
            &yb,
            Elem::F32,
            want,
            1e-5,
        );
        Ok(())
    }

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        for trans_b in [false, true] {
            for kind in 0..3 {
                case(bench, &Spec { mkn: [65, 37, 71], trans_b, kind, epilogue: kind == 0, batch: [1; 3] })?;
                case(bench, &Spec { mkn: [9, 132, 68], trans_b, kind, epilogue: kind != 0, batch: [1; 3] })?;
            }
            case(bench, &Spec { mkn: [17, 20, 8], trans_b, kind: 0, epilogue: true, batch: [2, 3, 2] })?;
            case(bench, &Spec { mkn: [5, 3, 7], trans_b, kind: 1, epilogue: false, batch: [1, 5, 3] })?;
        }
        for m in [6, 67] {
            case(bench, &Spec { mkn: [m, 36, 45], trans_b: true, kind: 3, epilogue: true, batch: [1; 3] })?;
            case(bench, &Spec { mkn: [m, 41, 10], trans_b: true, kind: 3, epilogue: false, batch: [1; 3] })?;
        }
        // Every tile, by itself: its own pipeline, and edges that none of them divides.
        for (line, tile) in TABLE.iter().enumerate() {
            let tiles = Class::ALL.iter().fold(Tiles::default(), |t, c| t.with(*c, line));
            let gpu = bench.gpu.with_tiles(tiles);
            // Both layouts meet each entry point.
            let trans_b = matches!(line, 1 | 3 | 5);
            let mkn = [tile.rows() as usize + 3, 39, tile.cols() as usize + 5];
            case_on(bench, &gpu, &Spec { mkn, trans_b, kind: 0, epilogue: line % 2 == 0, batch: [1; 3] })?;
        }
        Ok(())
    }

    #[test]
    fn wrong_operands_are_errors() {
        let Some(gpu) = crate::twin::shared_gpu() else { return };
        let b = gpu.buffer("b", 64).unwrap().whole();
        let op = MatMul::new(&b, Weights::F32(&b), &b, [4, 4, 4]);
        assert!(matmul(gpu, &op).is_ok());
        assert!(matmul(gpu, &MatMul { m: 5, ..op }).is_err());
        assert!(matmul(gpu, &MatMul { b_strides: [0, 0, 1], batch: [1, 1, 2], ..op }).is_err());
        assert!(matmul(gpu, &MatMul { activation: Activation::of(UnaryOp::Not), ..op }).is_err());
        assert!(matmul(gpu, &MatMul { b: Weights::I8 { values: &b, scale: &b.buffer.part(0, 12) }, ..op }).is_err());
        let int4 = |group| Weights::I4 { values: &b, scales: &b, group };
        assert!(matmul(gpu, &MatMul { b: int4(8), trans_b: true, n: 2, ..op }).is_ok());
        assert!(matmul(gpu, &MatMul { b: int4(4), ..op }).is_err(), "by rows");
        assert!(matmul(gpu, &MatMul { b: int4(3), trans_b: true, ..op }).is_err(), "a group that is not whole vectors");
        assert!(matmul(gpu, &MatMul { b: int4(0), trans_b: true, ..op }).is_err());
        assert_eq!(matmul(gpu, &MatMul { m: 0, ..op }).unwrap().dispatches(), 0);
    }
}
