//! Named device buffers, and ranges of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Gpu, GpuError};

/// Every buffer's size is a multiple of this, so that a kernel can read whole vectors at its end.
pub(crate) const GRANULE: u64 = 256;

/// A device buffer; clones share it, and the memory is freed with the last one.
#[derive(Debug, Clone)]
pub struct Buffer(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) raw: wgpu::Buffer,
    label: String,
    bytes: u64,
    allocated: Arc<AtomicU64>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.allocated.fetch_sub(self.raw.size(), Ordering::Relaxed);
    }
}

impl Buffer {
    /// The size that was asked for.
    pub fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// The label: the tensor's name.
    pub fn label(&self) -> &str {
        &self.0.label
    }

    /// The whole buffer.
    pub fn whole(&self) -> Binding {
        Binding { buffer: self.clone(), offset: 0, bytes: self.bytes() }
    }

    /// A part; its offset must be a multiple of [`Gpu::alignment`].
    pub fn part(&self, offset: u64, bytes: u64) -> Binding {
        Binding { buffer: self.clone(), offset, bytes }
    }
}

/// A range of a buffer that a kernel reads or writes.
#[derive(Debug, Clone)]
pub struct Binding {
    /// The buffer.
    pub buffer: Buffer,
    /// Where the range starts: a multiple of [`Gpu::alignment`].
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
}

impl Binding {
    /// How many four-byte elements fit in the range.
    pub(crate) fn words(&self) -> u64 {
        self.bytes / 4
    }
}

impl Gpu {
    /// A zeroed storage buffer. The label names the tensor: it is what the allocator's report and errors show.
    ///
    /// Fails where the size passes the device's limits or what is left of its memory.
    pub fn buffer(&self, label: &str, bytes: u64) -> Result<Buffer, GpuError> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let raw = self.raw_buffer(label, bytes, usage)?;
        let allocated = self.inner.allocated.clone();
        allocated.fetch_add(raw.size(), Ordering::Relaxed);
        Ok(Buffer(Arc::new(Inner { raw, label: label.to_owned(), bytes, allocated })))
    }

    /// A wgpu buffer of any usage under the same checks; not counted.
    pub(crate) fn raw_buffer(
        &self,
        label: &str,
        bytes: u64,
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer, GpuError> {
        self.check_lost()?;
        let limit = self.limits().max_buffer_size;
        let too_large = || GpuError::TooLarge { label: label.to_owned(), bytes, what: "largest buffer", limit };
        let size = bytes.max(1).checked_next_multiple_of(GRANULE).ok_or_else(too_large)?;
        if size > limit {
            return Err(too_large());
        }
        if let Some(budget) = self.budget() {
            let used = self.allocated_bytes();
            if used.checked_add(size).is_none_or(|total| total > budget) {
                let why = format!("{used} of a budget of {budget} bytes are in use");
                return Err(GpuError::OutOfMemory { label: label.to_owned(), bytes, why });
            }
        }
        let memory = self.inner.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.inner.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let raw = self.inner.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage,
            mapped_at_creation: false,
        });
        let validation = pollster::block_on(validation.pop());
        match (pollster::block_on(memory.pop()), validation) {
            (None, None) => Ok(raw),
            (Some(error), _) => Err(GpuError::OutOfMemory { label: label.to_owned(), bytes, why: error.to_string() }),
            (None, Some(error)) => Err(GpuError::from_wgpu(label, error)),
        }
    }

    /// Writes bytes into a buffer at a multiple of four. They arrive before whatever is submitted next.
    pub fn upload(&self, buffer: &Buffer, offset: u64, bytes: &[u8]) -> Result<(), GpuError> {
        self.check_lost()?;
        let end = offset.checked_add(bytes.len() as u64);
        if !offset.is_multiple_of(4) || end.is_none_or(|end| end > buffer.bytes()) {
            let why = format!("{} bytes at {offset} do not fit its {} bytes", bytes.len(), buffer.bytes());
            return Err(GpuError::Argument { kernel: format!("upload to {}", buffer.label()), why });
        }
        // Pieces, so that a large weight never has a second whole copy in staging memory.
        const PIECE: usize = 32 << 20;
        for (i, piece) in bytes.chunks(PIECE).enumerate() {
            let at = offset + (i * PIECE) as u64;
            let whole = piece.len() / 4 * 4;
            self.inner.queue.write_buffer(&buffer.0.raw, at, &piece[..whole]);
            if whole < piece.len() {
                let mut word = [0u8; 4];
                word[..piece.len() - whole].copy_from_slice(&piece[whole..]);
                self.inner.queue.write_buffer(&buffer.0.raw, at + whole as u64, &word);
            }
            if piece.len() == PIECE {
                let submission = self.inner.queue.submit([]);
                self.wait(submission)?;
            }
        }
        self.check_uncaptured(buffer.label())
    }

    /// Reads ranges back, waiting for everything submitted before.
    pub fn download(&self, ranges: &[Binding]) -> Result<Vec<Vec<u8>>, GpuError> {
        self.check_lost()?;
        let mut total = 0u64;
        for r in ranges {
            let end = r.offset.checked_add(r.bytes).and_then(|e| e.checked_next_multiple_of(4));
            if !r.offset.is_multiple_of(4) || end.is_none_or(|end| end > r.buffer.0.raw.size()) {
                let why = format!("{} bytes at {} do not fit its {} bytes", r.bytes, r.offset, r.buffer.bytes());
                return Err(GpuError::Argument { kernel: format!("download of {}", r.buffer.label()), why });
            }
            total += r.bytes.next_multiple_of(4);
        }
        if total == 0 {
            return Ok(ranges.iter().map(|_| Vec::new()).collect());
        }
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = self.raw_buffer("download staging", total, usage)?;
        let scope = self.inner.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let mut encoder =
            self.inner.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("download") });
        let mut at = 0;
        for r in ranges.iter().filter(|r| r.bytes > 0) {
            let len = r.bytes.next_multiple_of(4);
            encoder.copy_buffer_to_buffer(&r.buffer.0.raw, r.offset, &staging, at, len);
            at += len;
        }
        let submission = self.inner.queue.submit([encoder.finish()]);
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(GpuError::from_wgpu("download", error));
        }
        let bytes = self.read_mapped(&staging, total, submission)?;
        let mut at = 0usize;
        Ok(ranges
            .iter()
            .map(|r| {
                let part = bytes[at..at + r.bytes as usize].to_vec();
                at += r.bytes.next_multiple_of(4) as usize;
                part
            })
            .collect())
    }

    /// Maps a staging buffer once its submission is done, and copies its bytes out.
    pub(crate) fn read_mapped(
        &self,
        staging: &wgpu::Buffer,
        bytes: u64,
        submission: wgpu::SubmissionIndex,
    ) -> Result<Vec<u8>, GpuError> {
        let failed = |why: String| GpuError::Validation { label: "reading a staging buffer".to_owned(), why };
        let (send, receive) = std::sync::mpsc::sync_channel(1);
        staging.map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
            // The receiver is gone only where waiting failed, and that error is the one reported.
            let _ = send.send(result);
        });
        self.wait(submission)?;
        receive.recv().map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
        let out = staging.get_mapped_range(0..bytes).map_err(|e| failed(e.to_string()))?.to_vec();
        staging.unmap();
        Ok(out)
    }
}
