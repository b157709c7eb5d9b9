//! The offset between the GPU's clock and the CPU's.
//!
//! A submission that does nothing but take one timestamp is bracketed by two CPU times: the stamp was taken between them.
//! The shortest of several brackets gives the offset; half its length is the error.

use std::time::Instant;

use crate::gpu::lock;
use crate::{Gpu, GpuError};

/// One moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calibration {
    /// The moment on the CPU.
    pub(crate) cpu: Instant,
    /// The moment on the GPU, in nanoseconds of its own clock.
    pub(crate) gpu_ns: f64,
    /// How far apart the two may be.
    pub(crate) error_ns: u64,
}

impl Calibration {
    /// Nanoseconds since `epoch` of a moment on the GPU's clock.
    pub(crate) fn to_epoch_ns(self, gpu_ns: f64, epoch: Instant) -> f64 {
        let cpu = self
            .cpu
            .checked_duration_since(epoch)
            .map_or_else(|| -(epoch.saturating_duration_since(self.cpu).as_nanos() as f64), |d| d.as_nanos() as f64);
        cpu + (gpu_ns - self.gpu_ns)
    }
}

const FIRST_TRIES: usize = 50;
const REFRESH_TRIES: usize = 8;

impl Gpu {
    /// The clocks' offset, taken anew: they drift apart. The first time takes more tries.
    pub(crate) fn calibrate(&self) -> Result<Calibration, GpuError> {
        let mut kept = lock(&self.inner.calibration);
        let tries = if kept.is_some() { REFRESH_TRIES } else { FIRST_TRIES };
        let queries = self.query_set(1)?;
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let resolve = self.raw_buffer("calibration", 256, usage)?;
        let staging =
            self.raw_buffer("calibration staging", 256, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)?;
        let mut best: Option<Calibration> = None;
        for _ in 0..tries {
            let device = &self.inner.device;
            let mut encoder =
                device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("calibration") });
            self.stamp(&mut encoder, &queries);
            let stamp = encoder.finish();
            let before = Instant::now();
            let submission = self.inner.queue.submit([stamp]);
            self.wait(submission)?;
            let after = Instant::now();
            let mut encoder =
                device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("calibration") });
            encoder.resolve_query_set(&queries, 0..1, &resolve, 0);
            encoder.copy_buffer_to_buffer(&resolve, 0, &staging, 0, 8);
            let submission = self.inner.queue.submit([encoder.finish()]);
            let bytes = self.read_mapped(&staging, 8, submission)?;
            let ticks = bytemuck::pod_read_unaligned::<u64>(&bytes);
            let bracket = after.duration_since(before);
            let error_ns = bracket.as_nanos() as u64 / 2;
            if ticks != 0 && best.is_none_or(|b| error_ns < b.error_ns) {
                let gpu_ns = ticks as f64 * self.tick_ns();
                best = Some(Calibration { cpu: before + bracket / 2, gpu_ns, error_ns });
            }
        }
        let best = best.ok_or_else(|| GpuError::Validation {
            label: "clock calibration".to_owned(),
            why: "every timestamp came back as zero".to_owned(),
        })?;
        *kept = Some(best);
        Ok(best)
    }

    /// Nanoseconds per tick.
    pub(crate) fn tick_ns(&self) -> f64 {
        f64::from(self.inner.queue.get_timestamp_period())
    }

    pub(crate) fn query_set(&self, count: u32) -> Result<wgpu::QuerySet, GpuError> {
        let device = &self.inner.device;
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let set = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("timestamps"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        match pollster::block_on(scope.pop()) {
            Some(error) => Err(GpuError::from_wgpu("timestamp queries", error)),
            None => Ok(set),
        }
    }

    /// Takes one stamp, as the adapter can: in the encoder, or at the bounds of an empty pass.
    fn stamp(&self, encoder: &mut wgpu::CommandEncoder, queries: &wgpu::QuerySet) {
        if self.inner.device.features().contains(wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS) {
            encoder.write_timestamp(queries, 0);
        } else {
            let timestamp_writes = Some(wgpu::ComputePassTimestampWrites {
                query_set: queries,
                beginning_of_pass_write_index: None,
                end_of_pass_write_index: Some(0),
            });
            let descriptor = wgpu::ComputePassDescriptor { label: Some("calibration"), timestamp_writes };
            let mut pass = encoder.begin_compute_pass(&descriptor);
            // A pass with no dispatch gives zeros on some adapters.
            if let Ok(command) = crate::kernels::fill::noop(self) {
                command.encode(&mut pass);
            }
        }
    }
}
