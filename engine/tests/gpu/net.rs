//! Small graphs, random tensors, and the two executors side by side.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock, Mutex};

use engine::{Gpu, GpuSession, Plan, PlanOptions, Pool, Session};
use graph::{Attr, DType, Dim, Graph, Node, Tensor, TensorType, Value, ValueId};
use profiler::{Layer, Recorder};

/// xorshift64*.
pub struct Rng(pub u64);

impl Rng {
    /// From the clock; the seed is printed, so that a failure can be run again.
    pub fn fresh() -> Rng {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
        println!("seed {}", now | 1);
        Rng(now | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Between `lo` and `hi`.
    pub fn float(&mut self, lo: f32, hi: f32) -> f32 {
        lo + (self.next() >> 40) as f32 / (1u64 << 24) as f32 * (hi - lo)
    }

    /// From `lo` up to, not with, `hi`.
    pub fn int(&mut self, lo: i64, hi: i64) -> i64 {
        lo + (self.next() >> 33) as i64 % (hi - lo)
    }

    /// Floats between -2 and 2.
    pub fn f(&mut self, shape: &[usize]) -> Tensor {
        self.within(shape, -2.0, 2.0)
    }

    pub fn within(&mut self, shape: &[usize], lo: f32, hi: f32) -> Tensor {
        Tensor::from_vec(shape, (0..shape.iter().product()).map(|_| self.float(lo, hi)).collect())
    }

    pub fn i(&mut self, shape: &[usize], lo: i64, hi: i64) -> Tensor {
        Tensor::from_vec(shape, (0..shape.iter().product()).map(|_| self.int(lo, hi)).collect())
    }

    pub fn u8(&mut self, shape: &[usize]) -> Tensor {
        Tensor::from_vec(shape, (0..shape.iter().product()).map(|_| self.int(0, 256) as u8).collect())
    }

    pub fn i8(&mut self, shape: &[usize]) -> Tensor {
        Tensor::from_vec(shape, (0..shape.iter().product()).map(|_| self.int(-128, 128) as i8).collect())
    }

    pub fn bools(&mut self, shape: &[usize]) -> Tensor {
        let bytes: Vec<u8> = (0..shape.iter().product()).map(|_| self.int(0, 2) as u8).collect();
        Tensor::new(DType::Bool, shape.to_vec(), bytes.into()).expect("bools")
    }
}

pub fn ints(v: &[i64]) -> Tensor {
    Tensor::from_vec(&[v.len()], v.to_vec())
}

/// A graph in the making, with what is fed to it.
#[derive(Clone)]
pub struct Net {
    pub graph: Graph,
    pub fed: HashMap<String, Tensor>,
}

impl Net {
    pub fn new(opset: i64) -> Net {
        let mut graph = Graph { name: "net".into(), ..Graph::default() };
        graph.opsets.insert(String::new(), opset);
        Net { graph, fed: HashMap::new() }
    }

    fn value(&mut self, name: String, t: &Tensor, held: bool) -> ValueId {
        let shape = t.shape().iter().map(|&d| Dim::Known(d)).collect();
        let ty = Some(TensorType { dtype: t.dtype(), shape: Some(shape) });
        self.graph.add_value(Value { name, ty, constant: held.then(|| t.clone()), ..Value::default() })
    }

    /// A value that the caller gives.
    pub fn feed(&mut self, t: Tensor) -> ValueId {
        let name = format!("in{}", self.graph.inputs.len());
        let id = self.value(name.clone(), &t, false);
        self.graph.inputs.push(id);
        self.fed.insert(name, t);
        id
    }

    /// A constant.
    pub fn hold(&mut self, t: Tensor) -> ValueId {
        let name = format!("held{}", self.graph.values.len());
        self.value(name, &t, true)
    }

    /// A node with so many outputs.
    pub fn node(
        &mut self,
        op: &str,
        inputs: &[Option<ValueId>],
        attrs: &[(&str, Attr)],
        outputs: usize,
    ) -> Vec<ValueId> {
        let made: Vec<ValueId> = (0..outputs)
            .map(|_| {
                let name = format!("made{}", self.graph.values.len());
                self.graph.add_value(Value { name, ..Value::default() })
            })
            .collect();
        self.graph.nodes.push(Node {
            name: format!("{op}{}", self.graph.nodes.len()),
            domain: String::new(),
            op_type: op.into(),
            inputs: inputs.to_vec(),
            outputs: made.iter().map(|&o| Some(o)).collect(),
            attrs: attrs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect(),
            scope: String::new(),
            sources: vec![],
        });
        made
    }

    /// A node with one output.
    pub fn op(&mut self, op: &str, inputs: &[ValueId], attrs: &[(&str, Attr)]) -> ValueId {
        let inputs: Vec<Option<ValueId>> = inputs.iter().map(|&v| Some(v)).collect();
        self.node(op, &inputs, attrs, 1)[0]
    }

    /// The graph's outputs.
    pub fn out(mut self, values: &[ValueId]) -> Net {
        self.graph.outputs = values.to_vec();
        self
    }

    /// The same graph on other random floats.
    pub fn refed(&self, r: &mut Rng) -> HashMap<String, Tensor> {
        self.fed
            .iter()
            .map(|(k, t)| (k.clone(), if t.dtype() == DType::F32 { r.f(t.shape()) } else { t.clone() }))
            .collect()
    }
}

/// The device, opened once; `None` if the environment says that there is none.
pub fn gpu() -> Option<Gpu> {
    static GPU: LazyLock<Option<Gpu>> = LazyLock::new(|| {
        if std::env::var_os("STRATOSCOPE_NO_GPU").is_some_and(|v| v == "1") {
            return None;
        }
        let open = Gpu::open(None);
        Some(open.expect("these tests need an adapter (Debian: mesa-vulkan-drivers), or STRATOSCOPE_NO_GPU=1"))
    });
    GPU.clone()
}

/// A net on both executors.
pub struct Pair {
    pub cpu: Session,
    pub gpu: GpuSession,
}

fn pool() -> Arc<Pool> {
    static POOL: LazyLock<Mutex<Arc<Pool>>> = LazyLock::new(|| Mutex::new(Arc::new(Pool::new(2))));
    POOL.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
}

impl Pair {
    /// Plans a net for both; the CPU's plan takes `options` as they are.
    pub fn new(net: &Net, options: &PlanOptions, gpu: Gpu) -> Pair {
        let (pool, cancel) = (pool(), AtomicBool::new(false));
        let plan = |o: &PlanOptions| Arc::new(Plan::new(&net.graph, o, &pool, &cancel).expect("a plan"));
        let cpu = Session::new(plan(options), pool.clone());
        let on_gpu = plan(&PlanOptions { pack: false, ..options.clone() });
        let gpu = GpuSession::new(on_gpu, pool.clone(), gpu, &mut Recorder::off(), &cancel).expect("a session");
        Pair { cpu, gpu }
    }

    /// Runs both on the same values: (from the CPU, from the GPU).
    pub fn run(&mut self, fed: &HashMap<String, Tensor>) -> (Vec<Tensor>, Vec<Tensor>) {
        let (cancel, mut off) = (AtomicBool::new(false), Recorder::off());
        self.cpu.feed(fed).expect("fed");
        self.cpu.run(&mut off, &cancel).expect("the CPU's run");
        self.gpu.feed(fed).expect("fed");
        self.gpu.run(&mut off, &cancel).expect("the GPU's run");
        let tensors = |v: Vec<(String, Tensor)>| v.into_iter().map(|(_, t)| t).collect();
        (tensors(self.cpu.outputs().expect("outputs")), tensors(self.gpu.outputs().expect("outputs")))
    }

    /// The layers with the device that each runs on.
    pub fn layers(&self) -> &[Layer] {
        self.gpu.layers()
    }
}

/// Why two tensors are not the same within an error relative to the largest element; integers and bools must be equal.
pub fn differs(want: &Tensor, got: &Tensor, error: f32) -> Option<String> {
    if (want.dtype(), want.shape()) != (got.dtype(), got.shape()) {
        return Some(format!("{}{:?} for {}{:?}", got.dtype(), got.shape(), want.dtype(), want.shape()));
    }
    let (Ok(w), Ok(g)) = (want.elements::<f32>(), got.elements::<f32>()) else {
        return (want.bytes() != got.bytes()).then(|| format!("{:?} for {:?}", got.to_i64(), want.to_i64()));
    };
    let largest = w.iter().filter(|v| v.is_finite()).fold(0f32, |m, v| m.max(v.abs()));
    w.iter().zip(g.iter()).enumerate().find_map(|(i, (&w, &g))| {
        let same = w == g || (w - g).abs() <= error * largest.max(1e-3);
        (!same).then(|| format!("element {i} is {g}, not {w} (the largest is {largest})"))
    })
}
