//! The panels: one file each, and one line in [`all`].

mod accuracy;
mod flame;
mod inspector;
mod layers;
mod memory;
mod model;
pub mod summary;

use crate::view::View;

/// Every view, in the order of the default layout.
pub fn all() -> Vec<Box<dyn View>> {
    vec![
        Box::<model::ModelView>::default(),
        Box::<flame::FlameView>::default(),
        Box::<layers::LayersView>::default(),
        Box::<memory::MemoryView>::default(),
        Box::<accuracy::AccuracyView>::default(),
        Box::<summary::SummaryView>::default(),
        Box::<inspector::InspectorView>::default(),
    ]
}
