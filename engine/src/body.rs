//! A graph within an operator: planned when it is met with inputs of new shapes, and run by a session of its own.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cpu_kernels::pool::Pool;
use graph::{DType, Graph, Tensor, ValueId};
use profiler::Recorder;

use crate::attrs::Attrs;
use crate::captures::{MAX_DEPTH, bodies};
use crate::error::EngineError;
use crate::exec;
use crate::op::{Env, Fact, Inputs, OpError};
use crate::options::PlanOptions;
use crate::passes;
use crate::plan::Plan;
use crate::session::Session;
use crate::work::Work;

/// Plans for inputs of particular shapes that are kept. Beyond them one plan serves all others: what changes from run to run
/// has no shape in it.
const MAX_PLANS: usize = 8;

/// Types of inputs, and their shapes: `None` for what is no tensor, or may have any shape.
type Signature = Vec<(DType, Option<Vec<usize>>)>;

/// The body of an If, Loop, Scan or SequenceMap.
#[derive(Debug)]
pub(crate) struct Body {
    /// Its last inputs are the captures.
    graph: Graph,
    /// Where the node's inputs for the captures begin.
    captured_from: usize,
    /// Nodes that can't be run, in words.
    problems: Vec<String>,
    pure: bool,
    dtypes: OnceLock<Vec<DType>>,
    plans: Mutex<Plans>,
}

#[derive(Debug, Default)]
struct Plans {
    exact: Vec<(Signature, Planned)>,
    general: Option<(Signature, Planned)>,
}

#[derive(Clone)]
struct Planned(Arc<Plan>);

impl std::fmt::Debug for Planned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "plan of {} steps", self.0.steps.len())
    }
}

/// The number of a node's inputs that are its own, captures left out.
pub(crate) fn own_inputs(a: &Attrs<'_>) -> usize {
    a.input_count().saturating_sub(bodies(a.node()).map(|(_, b)| b.captures.len()).sum())
}

impl Body {
    /// The body in this attribute, which has `inputs` inputs of its own and `outputs` outputs.
    pub fn read(a: &Attrs<'_>, name: &str, inputs: usize, outputs: usize) -> Result<Body, OpError> {
        let graph = a.graph(name)?.ok_or_else(|| OpError::invalid(format!("attribute {name} is missing")))?;
        let (has_inputs, has_outputs) = (graph.inputs.len().saturating_sub(graph.captures.len()), graph.outputs.len());
        if (has_inputs, has_outputs) != (inputs, outputs) {
            return Err(OpError::invalid(format!(
                "its {name} \"{}\" has {has_inputs} inputs and {has_outputs} outputs, the node wants {inputs} and {outputs}",
                graph.name
            )));
        }
        let before = bodies(a.node()).take_while(|(n, _)| *n != name).map(|(_, b)| b.captures.len()).sum::<usize>();
        let (problems, pure) = match Work::new(graph.clone()) {
            Ok(work) => (Vec::new(), work.iter().all(|(_, n)| n.op.is_pure())),
            Err(EngineError::Unsupported(list)) => (list, false),
            Err(other) => return Err(outer(other)),
        };
        Ok(Body {
            graph: graph.clone(),
            captured_from: own_inputs(a) + before,
            problems,
            pure,
            dtypes: OnceLock::new(),
            plans: Mutex::default(),
        })
    }

    /// False if two runs on the same inputs may differ.
    pub fn is_pure(&self) -> bool {
        self.pure
    }

    /// Of a list that follows the node's inputs, what belongs to the captures.
    pub fn captured<'t, T>(&self, of_node: &'t [Option<T>]) -> impl Iterator<Item = Option<&'t T>> {
        of_node.iter().skip(self.captured_from).take(self.graph.captures.len()).map(Option::as_ref)
    }

    /// The rank that an input is declared with.
    pub fn input_rank(&self, i: usize) -> Option<usize> {
        Some(self.graph.value(*self.graph.inputs.get(i)?).ty.as_ref()?.shape.as_ref()?.len())
    }

    /// The shape that output `i` is declared with, 0 for every dimension that is no number.
    pub fn output_shape(&self, i: usize) -> Option<Vec<usize>> {
        let dims = self.graph.value(*self.graph.outputs.get(i)?).ty.as_ref()?.shape.as_ref()?;
        Some(dims.iter().map(|d| d.known().unwrap_or(0)).collect())
    }

    /// The element types of its outputs: declared, or else inferred from those of its inputs. `node` are the facts of the
    /// node's inputs.
    pub fn output_dtypes(&self, own: &[DType], node: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        if !self.problems.is_empty() {
            return Err(OpError::unsupported(self.problems.join("; ")));
        }
        if let Some(known) = self.dtypes.get() {
            return Ok(known.clone());
        }
        let declared = |id: &ValueId| self.graph.value(*id).ty.as_ref().map(|t| t.dtype);
        let dtypes = match self.graph.outputs.iter().map(declared).collect::<Option<Vec<DType>>>() {
            Some(declared) => declared,
            None => {
                let captured = self.captured(node.0).map(|f| f.map(|f| f.dtype));
                let facts: Option<Vec<Fact>> =
                    own.iter().map(|&d| Some(d)).chain(captured).map(|d| d.map(Fact::dynamic)).collect();
                self.inferred(facts.ok_or_else(|| OpError::invalid("a captured value has no type"))?)?
            }
        };
        Ok(self.dtypes.get_or_init(|| dtypes).clone())
    }

    fn inferred(&self, inputs: Vec<Fact>) -> Result<Vec<DType>, OpError> {
        static NEVER: AtomicBool = AtomicBool::new(false);
        let mut work = Work::new(self.graph.clone()).map_err(outer)?;
        for (id, fact) in self.graph.inputs.iter().zip(inputs) {
            work.facts[id.index()] = Some(fact);
        }
        let env = Env { pool: exec::serial(), cancel: &NEVER, limit: 1 << 30, fusion: false, depth: MAX_DEPTH };
        passes::infer_and_fold(&mut work, env).map_err(outer)?;
        let dtype = |id: &ValueId| work.fact(*id).map(|f| f.dtype);
        let known = self.graph.outputs.iter().map(dtype).collect::<Option<_>>();
        known.ok_or_else(|| OpError::invalid("an output of its body is made by nothing"))
    }

    /// Gets ready to run again and again within one step.
    pub fn start<'a>(&'a self, env: Env<'a>) -> Result<BodyRun<'a>, OpError> {
        if env.depth >= MAX_DEPTH {
            return Err(OpError::unsupported(format!("bodies within bodies, more than {MAX_DEPTH} deep")));
        }
        Ok(BodyRun { body: self, env, session: None })
    }

    /// The plan for such inputs.
    fn plan(&self, inputs: &[Tensor], env: Env<'_>) -> Result<Arc<Plan>, OpError> {
        let shape = |t: &Tensor| t.is_tensor().then(|| t.shape().to_vec());
        let met: Signature = inputs.iter().map(|t| (t.dtype(), shape(t))).collect();
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, plan)) = plans.exact.iter().find(|(s, _)| *s == met) {
            return Ok(plan.0.clone());
        }
        if plans.exact.len() < MAX_PLANS {
            let plan = self.make_plan(&met, env)?;
            plans.exact.push((met, Planned(plan.clone())));
            return Ok(plan);
        }
        if let Some((signature, plan)) = &plans.general
            && covers(signature, &met)
        {
            return Ok(plan.0.clone());
        }
        let mut signature = met;
        for (other, _) in plans.exact.iter().chain(&plans.general) {
            for (mine, (_, theirs)) in signature.iter_mut().zip(other) {
                if mine.1 != *theirs {
                    mine.1 = None;
                }
            }
        }
        let plan = self.make_plan(&signature, env)?;
        plans.general = Some((signature, Planned(plan.clone())));
        Ok(plan)
    }

    fn make_plan(&self, signature: &Signature, env: Env<'_>) -> Result<Arc<Plan>, OpError> {
        let mut facts = Vec::with_capacity(signature.len());
        for (&id, (dtype, shape)) in self.graph.inputs.iter().zip(signature) {
            let v = self.graph.value(id);
            if let Some(ty) = v.ty.as_ref().filter(|t| t.dtype != *dtype) {
                let why = format!("input \"{}\" of its body is declared {}, it gets {dtype}", v.name, ty.dtype);
                return Err(OpError::invalid(why));
            }
            facts.push(Fact { shape: shape.clone(), ..Fact::dynamic(*dtype) });
        }
        let options = PlanOptions { fusion: env.fusion, memory_limit: env.limit as u64, ..PlanOptions::default() };
        let inner = Env { depth: env.depth + 1, ..env };
        Ok(Arc::new(Plan::with_facts(&self.graph, facts, &options, inner).map_err(outer)?))
    }
}

fn covers(signature: &Signature, met: &Signature) -> bool {
    let mut pairs = signature.iter().zip(met);
    signature.len() == met.len() && pairs.all(|(s, m)| s.0 == m.0 && (s.1.is_none() || s.1 == m.1))
}

/// A body that runs, perhaps many times, within one step.
pub(crate) struct BodyRun<'a> {
    body: &'a Body,
    env: Env<'a>,
    session: Option<Session<&'a Pool>>,
}

impl BodyRun<'_> {
    /// Runs the body on its own inputs and what it captures (see [`Body::captured`]).
    pub fn run(&mut self, own: Vec<Tensor>, of_node: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let mut inputs = own;
        for t in self.body.captured(of_node) {
            inputs.push(t.ok_or_else(|| OpError::invalid("a captured value is missing"))?.clone());
        }
        let plan = self.body.plan(&inputs, self.env)?;
        if self.session.as_ref().is_none_or(|s| !Arc::ptr_eq(s.plan(), &plan)) {
            self.session = None;
            self.session = Some(Session::within(plan, self.env.pool, self.env.depth + 1));
        }
        let Some(session) = &mut self.session else { return Err(OpError::invalid("no session")) };
        session.feed_in_order(inputs).map_err(outer)?;
        session.run(&mut Recorder::off(), self.env.cancel).map_err(outer)?;
        Ok(session.outputs().map_err(outer)?.into_iter().map(|(_, t)| t).collect())
    }
}

/// An error of the body as one of the node that has it.
fn outer(e: EngineError) -> OpError {
    match e {
        EngineError::Cancelled => OpError::Cancelled,
        EngineError::Unsupported(list) => OpError::unsupported(list.join("; ")),
        EngineError::Node { node, why: OpError::Unsupported(why) } => OpError::unsupported(format!("{node}: {why}")),
        EngineError::Node { why: e @ OpError::Memory { .. }, .. } => e,
        EngineError::Memory { need, limit, .. } => {
            let bytes = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
            OpError::Memory { need: bytes(need), limit: bytes(limit) }
        }
        other => OpError::invalid(other.to_string()),
    }
}
