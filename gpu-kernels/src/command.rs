//! What a kernel function returns: work that is ready to be encoded.

use std::sync::Arc;

/// Work made by a kernel function: one or more dispatches with their operands bound. It keeps its buffers alive and can be
/// run any number of times.
#[derive(Debug, Clone)]
pub struct Command {
    pub(crate) label: Arc<str>,
    pub(crate) dispatches: Vec<Dispatch>,
}

/// One pipeline, its operands, and how many workgroups.
#[derive(Debug, Clone)]
pub(crate) struct Dispatch {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) bind_group: wgpu::BindGroup,
    pub(crate) groups: [u32; 3],
}

impl Command {
    /// The kernel's name.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// How many dispatches it takes; none where there is nothing to compute.
    pub fn dispatches(&self) -> usize {
        self.dispatches.len()
    }

    /// Work that does nothing: the result has no elements.
    pub(crate) fn nothing(label: &str) -> Command {
        Command { label: label.into(), dispatches: Vec::new() }
    }

    /// These, one after the other, under one name.
    pub(crate) fn sequence(label: &str, parts: impl IntoIterator<Item = Command>) -> Command {
        Command { label: label.into(), dispatches: parts.into_iter().flat_map(|c| c.dispatches).collect() }
    }

    pub(crate) fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        for d in &self.dispatches {
            pass.set_pipeline(&d.pipeline);
            pass.set_bind_group(0, &d.bind_group, &[]);
            pass.dispatch_workgroups(d.groups[0], d.groups[1], d.groups[2]);
        }
    }
}
