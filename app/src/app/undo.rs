//! Undo for what a person arranges (panels, selection), and the way back through what was selected.

use std::collections::VecDeque;
use std::sync::Weak;
use std::time::{Duration, Instant};

use profiler::{LayerId, SpanId, Trace};

use super::App;
use super::dock::Layout;

/// How many steps can be undone.
const STEPS: usize = 100;
/// Selections that follow each other faster are one step: walking with the arrow keys.
const WALK: Duration = Duration::from_millis(500);

/// What is selected, and in which trace.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    trace: Weak<Trace>,
    layer: Option<LayerId>,
    span: Option<SpanId>,
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.trace.ptr_eq(&other.trace) && (self.layer, self.span) == (other.layer, other.span)
    }
}

#[derive(Clone, PartialEq)]
struct Moment {
    layout: Layout,
    place: Place,
}

/// What can be undone and redone, and the selections before and after the one on show.
#[derive(Default)]
pub(super) struct History {
    now: Option<Moment>,
    past: VecDeque<Moment>,
    future: Vec<Moment>,
    /// When the newest step was taken, if it was a selection.
    selected_at: Option<Instant>,
    trail: VecDeque<Place>,
    at: usize,
}

impl History {
    /// Notes how things are. Only what a person did (`by_person`) becomes a step.
    fn note(&mut self, moment: Moment, by_person: bool, when: Instant) {
        let Some(now) = &self.now else {
            self.visit(&moment.place, false);
            self.now = Some(moment);
            return;
        };
        if *now == moment {
            return;
        }
        let selection_alone = now.layout == moment.layout;
        let walking = selection_alone && self.selected_at.is_some_and(|t| when.duration_since(t) < WALK);
        if now.place != moment.place {
            self.visit(&moment.place, walking);
        }
        if by_person {
            if !walking {
                self.past.extend(self.now.take());
                if self.past.len() > STEPS {
                    self.past.pop_front();
                }
            }
            self.future.clear();
            self.selected_at = selection_alone.then_some(when);
        }
        self.now = Some(moment);
    }

    fn visit(&mut self, place: &Place, walking: bool) {
        if place.layer.is_none() || self.trail.get(self.at) == Some(place) {
            return;
        }
        self.trail.truncate(self.at + 1);
        if walking && self.trail.len() > 1 {
            self.trail.pop_back();
        }
        self.trail.push_back(place.clone());
        if self.trail.len() > STEPS {
            self.trail.pop_front();
        }
        self.at = self.trail.len() - 1;
    }

    fn undo(&mut self) -> Option<Moment> {
        let before = self.past.pop_back()?;
        self.future.extend(self.now.replace(before.clone()));
        self.selected_at = None;
        Some(before)
    }

    fn redo(&mut self) -> Option<Moment> {
        let after = self.future.pop()?;
        self.past.extend(self.now.replace(after.clone()));
        self.selected_at = None;
        Some(after)
    }

    fn step(&mut self, forward: bool) -> Option<Place> {
        self.at = if forward { self.at.checked_add(1)? } else { self.at.checked_sub(1)? };
        self.trail.get(self.at).cloned()
    }

    pub(super) fn can_undo(&self) -> bool {
        !self.past.is_empty()
    }

    pub(super) fn can_redo(&self) -> bool {
        !self.future.is_empty()
    }

    pub(super) fn can_go_back(&self) -> bool {
        self.at > 0
    }

    pub(super) fn can_go_forward(&self) -> bool {
        self.at + 1 < self.trail.len()
    }
}

impl App {
    /// Notes the arrangement after a frame, unless something is still being dragged.
    pub(super) fn note_moment(&mut self, ctx: &egui::Context) {
        let (dragging, touched) = ctx.input(|i| {
            let keys = i.events.iter().any(|e| matches!(e, egui::Event::Key { pressed: true, .. }));
            (i.pointer.any_down(), keys || i.pointer.any_released())
        });
        self.touched |= touched;
        if dragging {
            return;
        }
        let trace = self.runs.current().map(|r| std::sync::Arc::downgrade(&r.profile.trace)).unwrap_or_default();
        let place = Place { trace, layer: self.selection.layer, span: self.selection.span };
        let moment = Moment { layout: self.layout.clone(), place };
        let by_person = std::mem::take(&mut self.touched);
        self.history.note(moment, by_person, Instant::now());
    }

    pub(super) fn undo(&mut self) {
        let moment = self.history.undo();
        self.restore(moment);
    }

    pub(super) fn redo(&mut self) {
        let moment = self.history.redo();
        self.restore(moment);
    }

    fn restore(&mut self, moment: Option<Moment>) {
        if let Some(moment) = moment {
            self.layout = moment.layout;
            self.select(&moment.place);
        }
    }

    pub(super) fn go(&mut self, forward: bool) {
        let possible = if forward { self.history.can_go_forward() } else { self.history.can_go_back() };
        if possible && let Some(place) = self.history.step(forward) {
            self.select(&place);
        }
    }

    fn select(&mut self, place: &Place) {
        let of = |r: &crate::runs::Run| std::sync::Arc::downgrade(&r.profile.trace).ptr_eq(&place.trace);
        if let Some(i) = self.runs.all().iter().position(of) {
            if self.runs.current_index() != Some(i) {
                self.show_run(i);
            }
            self.selection.select(place.layer);
            self.selection.span = place.span;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(layout: &Layout, layer: Option<u32>) -> Moment {
        Moment { layout: layout.clone(), place: Place { layer: layer.map(LayerId), ..Place::default() } }
    }

    #[test]
    fn steps_are_undone_and_redone_in_order_and_bounded() {
        let (mut h, start) = (History::default(), Instant::now());
        let layout = Layout::of(&["model", "flame"]);
        h.note(moment(&layout, None), true, start);
        assert!(!h.can_undo());
        for i in 0..STEPS as u32 + 20 {
            h.note(moment(&layout, Some(i)), true, start + WALK * (i + 1));
        }
        assert_eq!(h.past.len(), STEPS);
        assert_eq!(h.undo().unwrap().place.layer, Some(LayerId(STEPS as u32 + 18)));
        assert_eq!(h.redo().unwrap().place.layer, Some(LayerId(STEPS as u32 + 19)));
        assert!(h.redo().is_none());
        h.undo();
        let mut hidden = layout.clone();
        hidden.set_shown("flame", false);
        h.note(moment(&hidden, Some(1)), true, start + WALK * 500);
        assert!(!h.can_redo(), "a new step ends what could be redone");
        assert!(h.undo().unwrap().layout == layout);
        assert!(h.redo().unwrap().layout == hidden);
    }

    #[test]
    fn walking_is_one_step_and_what_the_program_does_is_none() {
        let (mut h, start) = (History::default(), Instant::now());
        let layout = Layout::of(&["model", "flame"]);
        h.note(moment(&layout, None), true, start);
        for i in 0..10 {
            h.note(moment(&layout, Some(i)), true, start + WALK / 4 * i);
        }
        assert_eq!(h.past.len(), 1);
        assert!(h.undo().unwrap().place.layer.is_none());
        h.note(moment(&layout, Some(77)), false, start + WALK * 9);
        assert!(!h.can_undo());
    }

    #[test]
    fn the_trail_goes_back_and_forward() {
        let (mut h, start) = (History::default(), Instant::now());
        let layout = Layout::of(&["model"]);
        for (n, layer) in [Some(1), Some(2), None, Some(3)].into_iter().enumerate() {
            h.note(moment(&layout, layer), true, start + WALK * 2 * n as u32);
        }
        let back: Vec<_> = std::iter::from_fn(|| h.can_go_back().then(|| h.step(false)?.layer)).flatten().collect();
        assert_eq!(back, [LayerId(2), LayerId(1)]);
        assert_eq!(h.step(true).unwrap().layer, Some(LayerId(2)));
        h.note(moment(&layout, Some(9)), true, start + WALK * 20);
        assert!(!h.can_go_forward() && h.can_go_back());
    }
}
