//! Runs a plan on the CPU.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cpu_kernels::pool::Pool;
use graph::{DType, Tensor};
use profiler::{LayerId, Quality, Recorder, TrackKind};

use crate::error::EngineError;
use crate::exec;
use crate::op::{Fact, RunCx};
use crate::plan::{Place, Plan, PlanValue, Step, ValueIx};
use crate::tensor::{AlignedBytes, Input, OutData, Output, aligned};

/// Sees every step's outputs as they are made.
pub type Tap<'t> = dyn FnMut(Tapped<'_>) -> Result<(), EngineError> + 't;

/// What a tap is given.
pub struct Tapped<'a> {
    /// The step's index: that of its layer.
    pub step: usize,
    /// The inputs of the step before it was prepared (weights among them).
    pub inputs: Vec<Option<Tensor>>,
    /// The outputs, in order; `None` where nobody wants one.
    pub outputs: Vec<Option<Input<'a>>>,
}

/// A plan with its arena, ready to run again and again on the CPU. The pool is shared, or borrowed where a session runs within a
/// step of another one.
pub struct Session<P = Arc<Pool>> {
    plan: Arc<Plan>,
    pool: P,
    depth: usize,
    arena: AlignedBytes,
    dynamic: Vec<Option<Tensor>>,
    fed: Vec<Tensor>,
    scratch: Vec<f32>,
}

impl Session {
    /// Allocates what the plan needs.
    pub fn new(plan: Arc<Plan>, pool: Arc<Pool>) -> Session {
        Session::within(plan, pool, 0)
    }
}

impl<P: Deref<Target = Pool>> Session<P> {
    /// A session that is in `depth` bodies.
    pub(crate) fn within(plan: Arc<Plan>, pool: P, depth: usize) -> Self {
        let arena = AlignedBytes::new(plan.arena_bytes);
        let dynamic = vec![None; plan.values.len()];
        Session { plan, pool, depth, arena, dynamic, fed: Vec::new(), scratch: Vec::new() }
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Bytes of scratch that the kernels grew to.
    pub fn scratch_bytes(&self) -> usize {
        self.scratch.capacity() * size_of::<f32>()
    }

    /// Sets the inputs for the runs to come.
    pub fn feed(&mut self, inputs: &HashMap<String, Tensor>) -> Result<(), EngineError> {
        self.fed = fed_in_order(&self.plan, inputs)?;
        Ok(())
    }

    /// As [`Session::feed`], with the inputs in the plan's order.
    pub(crate) fn feed_in_order(&mut self, inputs: Vec<Tensor>) -> Result<(), EngineError> {
        let (have, want) = (inputs.len(), self.plan.inputs.len());
        if have != want {
            return Err(EngineError::Input(format!("{have} inputs where {want} are declared")));
        }
        let values = self.plan.inputs.iter().map(|&v| &self.plan.values[v]);
        self.fed = values.zip(inputs).map(|(v, t)| checked(v, &t)).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Runs once on what was fed. The outputs stay until the next run: see [`Session::output`].
    pub fn run(&mut self, rec: &mut Recorder, cancel: &AtomicBool) -> Result<(), EngineError> {
        self.run_tapped(rec, cancel, None)
    }

    /// Runs once; `tap` sees every step's outputs.
    pub fn run_tapped(
        &mut self,
        rec: &mut Recorder,
        cancel: &AtomicBool,
        mut tap: Option<&mut Tap<'_>>,
    ) -> Result<(), EngineError> {
        let plan = self.plan.clone();
        if self.fed.len() != plan.inputs.len() {
            return Err(EngineError::Input("the model's inputs were not fed".into()));
        }
        self.dynamic.iter_mut().for_each(|d| *d = None);
        let track = rec.is_on().then(|| rec.track("CPU", TrackKind::Cpu));
        let mut start = rec.now_ns();
        for (i, step) in plan.steps.iter().enumerate() {
            if cancel.load(Ordering::Relaxed) {
                return Err(EngineError::Cancelled);
            }
            // An input may be overwritten in place, so a tap takes its copies before the step.
            let before = match &tap {
                Some(_) => step.original_inputs.iter().map(|v| v.and_then(|v| self.tensor(v))).collect(),
                None => Vec::new(),
            };
            self.step(&plan, step, cancel)?;
            if let Some(track) = track {
                let end = rec.now_ns();
                rec.layer(track, LayerId(i as u32), start, end, Quality::Cpu);
                start = end;
            }
            if let Some(tap) = &mut tap {
                let outputs = step.outputs.iter().map(|v| v.and_then(|v| self.view(v))).collect();
                tap(Tapped { step: i, inputs: before, outputs })?;
            }
            for &v in &step.frees {
                self.dynamic[v] = None;
            }
        }
        Ok(())
    }

    fn step(&mut self, plan: &Plan, step: &Step, cancel: &AtomicBool) -> Result<(), EngineError> {
        let fail = |why| EngineError::at(&step.node, why);
        let env = plan.env(&self.pool, cancel, self.depth);
        let widen = step.op.widens() && self.has_narrow(step);
        if step.dynamic || widen {
            let inputs: Vec<Option<Tensor>> = step.inputs.iter().map(|v| v.and_then(|v| self.tensor(v))).collect();
            let wanted: Vec<bool> = step.outputs.iter().map(Option::is_some).collect();
            let (op, scratch) = (&*step.op, &mut self.scratch);
            let outs = if step.dynamic {
                exec::run_op(op, &inputs, &wanted, env, scratch)
            } else {
                // A prepared operator no longer sees the weights that it absorbed, so it is not asked for shapes again.
                let fact =
                    |v: &Option<ValueIx>| v.map_or(Fact::new(DType::F32, vec![]), |v| plan.values[v].fact.clone());
                let facts = step.outputs.iter().map(fact).collect();
                exec::run_inferred(op, &inputs, facts, &wanted, env, scratch)
            }
            .map_err(fail)?;
            for (v, t) in step.outputs.iter().zip(outs) {
                let (Some(v), Some(t)) = (*v, t) else { continue };
                match plan.arena_range(v) {
                    Some((from, to)) => self.arena.as_mut_slice()[from..to].copy_from_slice(t.bytes()),
                    None => self.dynamic[v] = Some(t),
                }
            }
            return Ok(());
        }
        let base = self.arena.as_mut_ptr();
        let mut outputs: Vec<Output<'_>> = Vec::with_capacity(step.outputs.len());
        for v in &step.outputs {
            outputs.push(match v {
                None => Output { dtype: DType::F32, shape: Vec::new(), data: OutData::Unwanted },
                Some(v) => {
                    let fact = &plan.values[*v].fact;
                    let (from, to) = plan.arena_range(*v).unwrap_or((0, 0));
                    // SAFETY: `Plan::check` proved that the range lies inside the arena and that, within one step, outputs
                    // overlap neither each other nor any input but the one taken over, which is passed as `None` below.
                    let data = unsafe { std::slice::from_raw_parts_mut(base.add(from), to - from) };
                    Output {
                        dtype: fact.dtype,
                        shape: fact.shape.clone().unwrap_or_default(),
                        data: OutData::Placed(data),
                    }
                }
            });
        }
        let mut inputs: Vec<Option<Input<'_>>> = Vec::with_capacity(step.inputs.len());
        for (k, v) in step.inputs.iter().enumerate() {
            inputs.push(match v {
                Some(v) if step.in_place != Some(k) => {
                    let fact = &plan.values[*v].fact;
                    let data: &[u8] = match &plan.values[plan.root(*v)].place {
                        Place::Constant(t) => t.bytes(),
                        Place::Input(i) => self.fed[*i].bytes(),
                        Place::Arena { offset, bytes } => {
                            // SAFETY: as above; nothing else writes the arena during the step.
                            unsafe { std::slice::from_raw_parts(base.add(*offset), *bytes) }
                        }
                        Place::Dynamic | Place::View(_) | Place::Absorbed => match &self.dynamic[plan.root(*v)] {
                            Some(t) => t.bytes(),
                            None => return Err(fail(crate::op::OpError::invalid(format!("input {k} was not made")))),
                        },
                    };
                    Some(Input { dtype: fact.dtype, shape: fact.shape.as_deref().unwrap_or(&[]), data })
                }
                _ => None,
            });
        }
        let (taken, scratch) = (step.in_place, &mut self.scratch);
        let mut cx = RunCx { inputs: &inputs, tensors: &[], outputs, taken, env, scratch };
        step.op.run(&mut cx).map_err(fail)
    }

    fn has_narrow(&self, step: &Step) -> bool {
        let narrow = |v: &ValueIx| exec::is_narrow_float(self.plan.values[*v].fact.dtype);
        step.inputs.iter().chain(&step.outputs).flatten().any(narrow)
    }

    /// A value that is there now.
    fn view(&self, v: ValueIx) -> Option<Input<'_>> {
        let root = self.plan.root(v);
        let fact = &self.plan.values[v].fact;
        let shape = fact.shape.as_deref();
        match &self.plan.values[root].place {
            Place::Constant(t) => Some(Input { dtype: fact.dtype, shape: shape?, data: t.bytes() }),
            Place::Input(i) => {
                let t = self.fed.get(*i)?;
                Some(Input { dtype: t.dtype(), shape: shape.unwrap_or(t.shape()), data: t.bytes() })
            }
            Place::Arena { offset, bytes } => {
                Some(Input { dtype: fact.dtype, shape: shape?, data: &self.arena.as_slice()[*offset..offset + bytes] })
            }
            Place::Dynamic | Place::View(_) | Place::Absorbed => {
                let t = self.dynamic[root].as_ref()?;
                Some(Input { dtype: t.dtype(), shape: shape.unwrap_or(t.shape()), data: t.bytes() })
            }
        }
    }

    /// A copy of a value that is there now (shared, where it is a constant, an input or dynamic).
    fn tensor(&self, v: ValueIx) -> Option<Tensor> {
        let root = self.plan.root(v);
        let shared = match &self.plan.values[root].place {
            Place::Constant(t) => Some(t),
            Place::Input(i) => self.fed.get(*i),
            Place::Dynamic => self.dynamic[root].as_ref(),
            _ => None,
        };
        match shared {
            Some(t) if v == root => Some(t.clone()),
            Some(t) => t.reshaped(self.plan.values[v].fact.shape.clone()?).ok(),
            None => Some(self.view(v)?.to_tensor()),
        }
    }

    /// Output `i` of the last run.
    pub fn output(&self, i: usize) -> Option<Tensor> {
        self.tensor(*self.plan.outputs.get(i)?)
    }

    /// All outputs of the last run, by name.
    pub fn outputs(&self) -> Result<Vec<(String, Tensor)>, EngineError> {
        self.plan
            .outputs
            .iter()
            .map(|&v| {
                let name = self.plan.values[v].name.clone();
                let t = self.tensor(v).ok_or_else(|| EngineError::Input(format!("output \"{name}\" was not made")))?;
                Ok((name, t))
            })
            .collect()
    }

    /// Runs one step alone, on this plan's own constants and otherwise on the inputs that the caller gives (as a tap of another
    /// session saw them).
    pub fn run_alone(&mut self, step: usize, given: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>, EngineError> {
        let s = &self.plan.steps[step];
        let own = |(i, v): (usize, &Option<ValueIx>)| match v.map(|v| &self.plan.values[v].place) {
            Some(Place::Constant(t)) => Some(t.clone()),
            Some(Place::Absorbed) | None => None,
            Some(_) => given.get(i).cloned().flatten(),
        };
        let inputs: Vec<Option<Tensor>> = s.original_inputs.iter().enumerate().map(own).collect();
        let kept: Vec<Option<Tensor>> = inputs
            .iter()
            .enumerate()
            .map(|(i, t)| t.clone().filter(|_| s.inputs.get(i).is_some_and(Option::is_some)))
            .collect();
        let wanted: Vec<bool> = s.outputs.iter().map(Option::is_some).collect();
        // Of weights that the operator holds in its own form the type is left.
        let fact = |(t, v): (&Option<Tensor>, &Option<ValueIx>)| match (t, v) {
            (Some(t), _) => Some(Fact::constant(t.clone())),
            (None, Some(v)) if matches!(self.plan.values[*v].place, Place::Absorbed) => {
                Some(self.plan.values[*v].fact.clone())
            }
            _ => None,
        };
        let facts: Vec<Option<Fact>> = inputs.iter().zip(&s.original_inputs).map(fact).collect();
        let never = AtomicBool::new(false);
        let env = self.plan.env(&self.pool, &never, self.depth);
        exec::infer(&*s.original, &facts)
            .and_then(|outs| exec::run_inferred(&*s.op, &kept, outs, &wanted, env, &mut self.scratch))
            .map_err(|why| EngineError::at(&s.node, why))
    }
}

/// The inputs in the plan's order, checked against it and aligned.
pub(crate) fn fed_in_order(plan: &Plan, inputs: &HashMap<String, Tensor>) -> Result<Vec<Tensor>, EngineError> {
    let names: Vec<&str> = plan.inputs.iter().map(|&v| plan.values[v].name.as_str()).collect();
    if let Some(extra) = inputs.keys().find(|k| !names.contains(&k.as_str())) {
        return Err(EngineError::Input(format!(
            "the model has no input \"{extra}\"; its inputs are {}",
            names.join(", ")
        )));
    }
    plan.inputs
        .iter()
        .map(|&v| {
            let value = &plan.values[v];
            let name = &value.name;
            let t = inputs.get(name).ok_or_else(|| EngineError::Input(format!("input \"{name}\" is missing")))?;
            checked(value, t)
        })
        .collect()
}

/// What is fed for an input, checked and aligned. A shape that the plan leaves open may be any, and then it may be a sequence.
fn checked(value: &PlanValue, t: &Tensor) -> Result<Tensor, EngineError> {
    let PlanValue { name, fact, .. } = value;
    let fits = match &fact.shape {
        Some(shape) => t.is_tensor() && t.shape() == shape.as_slice(),
        None => true,
    };
    if t.dtype() != fact.dtype || !fits {
        let (have, want) = (t.dtype(), fact.dtype);
        let (had, wanted) = (t.shape(), fact.shape.as_deref().unwrap_or(&[]));
        return Err(EngineError::Input(format!("input \"{name}\" is {have}{had:?}, the plan wants {want}{wanted:?}")));
    }
    Ok(aligned(t))
}
