//! What a model's activations would take if they were planned otherwise. Every figure is the planner's own, for the same model,
//! dimensions and precision: nothing is estimated.

use std::collections::BTreeMap;

use engine::{EngineError, MemoryNeeds, Plan, PlanOptions, Pool};
use graph::Model;
use serde::Serialize;

use crate::devices::cpu;
use crate::inputs::{default_dims, make_inputs};
use crate::latency::{shapes_of, short_name};
use crate::settings::{Control, DeviceChoice, Precision, Settings, StudyError};

/// What activations take as they are planned now, and in other ways.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WhatIf {
    /// The model's short name.
    pub model: String,
    /// The dimensions that it was planned for.
    pub dims: BTreeMap<String, usize>,
    /// The weights' precision.
    pub precision: Precision,
    /// True if operators are fused now.
    pub fusion: bool,
    /// As planned now.
    pub baseline: Case,
    /// Otherwise, one change at a time; the last has all that help.
    pub cases: Vec<Case>,
    /// No order of the steps can have a lower peak than this: the inputs and outputs of one step are there while it runs.
    pub floor_bytes: u64,
    /// That step.
    pub floor_step: String,
}

/// One way to plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Case {
    /// A stable word: `order`.
    pub id: &'static str,
    /// In a few words.
    pub name: String,
    /// The largest sum of activations alive at once.
    pub peak_bytes: u64,
    /// The arena that holds them.
    pub arena_bytes: u64,
    /// What was done, and what it means.
    pub explanation: String,
}

impl WhatIf {
    /// What a case saves of the peak; negative if it costs.
    pub fn saved_bytes(&self, case: &Case) -> i64 {
        signed(self.baseline.peak_bytes) - signed(case.peak_bytes)
    }

    /// The same as a share of the peak as planned now; 0 if that is empty.
    pub fn saved_share(&self, case: &Case) -> f64 {
        if self.baseline.peak_bytes == 0 {
            return 0.0;
        }
        self.saved_bytes(case) as f64 / self.baseline.peak_bytes as f64
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Plans the model's memory as it is now, without in-place steps, in another order, with f16 activations, and with fusion the
/// other way round. Runs nothing.
pub fn what_if(model: &Model, settings: &Settings, control: &Control) -> Result<WhatIf, StudyError> {
    let dims = default_dims(model, settings);
    let inputs = make_inputs(model, settings, &dims)?;
    let options = PlanOptions {
        dims: dims.clone(),
        shapes: shapes_of(&inputs),
        fusion: settings.fusion,
        precision: settings.precision,
        pack: settings.device == DeviceChoice::Cpu,
        ..PlanOptions::default()
    };
    let plan = |fusion: bool| {
        let pool = Pool::new(settings.threads.unwrap_or(cpu().cores).max(1));
        let options = PlanOptions { fusion, ..options.clone() };
        Plan::new(&model.graph, &options, &pool, control.flag()).map_err(stopped)
    };
    control.step("Planning", Some(0.0), None)?;
    let now = plan(settings.fusion)?;
    control.step("Planning with fusion the other way round", Some(0.3), None)?;
    let other = plan(!settings.fusion)?;
    control.step("Looking for another order", Some(0.6), None)?;
    let needs = &now.needs;
    let own = needs.order();
    let order = needs.better_order(true, control.flag()).map_err(stopped)?;
    let halved = needs.in_f16();
    control.step("Looking for another order in f16", Some(0.8), None)?;
    let halved_order = halved.better_order(true, control.flag()).map_err(stopped)?;

    let step_name = |step: Option<usize>| step.and_then(|s| now.layers.get(s)).map_or("", |l| &l.name).to_owned();
    let (floor, floor_step) = needs.floor(true);
    let in_place = needs.figures(&own, true).in_place_steps;
    let baseline = case(
        "now",
        "As planned now",
        needs,
        &own,
        true,
        format!("{} steps, {in_place} of them in place; {}.", own.len(), fused(settings.fusion)),
    );
    let at_floor = baseline.peak_bytes == floor as u64;
    let order_case =
        |needs: &MemoryNeeds, order: &[usize], id, name: &str, text: String| case(id, name, needs, order, true, text);
    let moved = order.iter().zip(&own).filter(|(a, b)| a != b).count();
    let order_text = if moved > 0 {
        format!("The planner's search over orders that keep every dependency moved {moved} steps.")
    } else if at_floor {
        format!("No order can help: {} alone needs the whole peak for its inputs and outputs.", step_name(floor_step))
    } else {
        "The planner's search found no order with a lower peak; that does not prove that there is none.".to_owned()
    };
    let bare = needs.figures(&own, false).peak_bytes as u64;
    let in_place_text = if bare > baseline.peak_bytes {
        format!("What in-place saves now: {in_place} of {} steps write over an input.", own.len())
    } else {
        format!("{in_place} of {} steps write over an input, none of them where the peak is.", own.len())
    };
    let cases = vec![
        case("no-in-place", "Without in-place", needs, &own, false, in_place_text),
        order_case(needs, &order, "order", "Another order", order_text),
        case(
            "f16",
            "f16 activations",
            &halved,
            &own,
            true,
            "Every f32 tensor of the arena in 16 bits, planned again; the engine's CPU kernels compute in f32 today."
                .into(),
        ),
        case(
            "fusion",
            if settings.fusion { "Without fusion" } else { "With fusion" },
            &other.needs,
            &other.needs.order(),
            true,
            format!("{} steps instead of {}; {}.", other.steps.len(), now.steps.len(), fused(!settings.fusion)),
        ),
        case(
            "order-f16",
            "Another order, f16",
            &halved,
            &halved_order,
            true,
            "Both together: f16 activations in the best order found for them.".into(),
        ),
    ];
    Ok(WhatIf {
        model: short_name(model),
        dims,
        precision: settings.precision,
        fusion: settings.fusion,
        baseline,
        cases,
        floor_bytes: floor as u64,
        floor_step: step_name(floor_step),
    })
}

fn case(
    id: &'static str,
    name: &str,
    needs: &MemoryNeeds,
    order: &[usize],
    in_place: bool,
    explanation: String,
) -> Case {
    let figures = needs.figures(order, in_place);
    Case {
        id,
        name: name.to_owned(),
        peak_bytes: figures.peak_bytes as u64,
        arena_bytes: figures.arena_bytes as u64,
        explanation,
    }
}

fn fused(fusion: bool) -> &'static str {
    if fusion { "operators fused" } else { "operators one by one" }
}

fn stopped(e: EngineError) -> StudyError {
    match e {
        EngineError::Cancelled => StudyError::Cancelled,
        e => e.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_planned_in_every_way() {
        for sample in crate::samples::all() {
            let model = sample.open().unwrap();
            let settings = Settings::default();
            let w = what_if(&model, &settings, &Control::silent()).unwrap();
            let ids: Vec<&str> = w.cases.iter().map(|c| c.id).collect();
            assert_eq!(ids, ["no-in-place", "order", "f16", "fusion", "order-f16"]);
            let saved = |id: &str| w.saved_bytes(w.cases.iter().find(|c| c.id == id).unwrap());
            assert!(w.baseline.peak_bytes > 0 && w.floor_bytes <= w.baseline.peak_bytes, "{w:#?}");
            assert!(saved("no-in-place") <= 0 && saved("order") >= 0 && saved("order-f16") >= saved("f16"), "{w:#?}");
            assert!(saved("f16") > 0, "f32 activations take most: {w:#?}");
            assert!(w.cases.iter().all(|c| c.arena_bytes >= c.peak_bytes && !c.explanation.is_empty()), "{w:#?}");
            // A profile of the same settings plans the same memory.
            let budget = crate::Budget::Runs(1);
            let settings = Settings { budget, warmup: 0, threads: Some(1), ..settings };
            let trace = crate::profile(&model, &settings, &Control::silent()).unwrap().trace;
            assert_eq!(trace.memory.activations_peak_bytes, w.baseline.peak_bytes);
            assert_eq!(trace.memory.arena_bytes, w.baseline.arena_bytes);
        }
    }

    #[test]
    fn a_wish_to_stop_ends_it() {
        let control = Control::silent();
        control.cancel();
        let model = crate::samples::all()[0].open().unwrap();
        assert!(matches!(what_if(&model, &Settings::default(), &control), Err(StudyError::Cancelled)));
    }
}
